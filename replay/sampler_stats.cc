// What a sampler tells of itself: what it holds, and what it waits for.
#include <algorithm>

#include "absl/strings/str_format.h"
#include "replay/sampler.h"

namespace headrace {

double ReplaySampler::MassLocked() const {
  double mass = 0;
  for (const Shard& shard : shards_) mass += shard.connected ? shard.state.mass() : 0;
  return mass;
}

uint64_t ReplaySampler::DrawableLocked() const {
  uint64_t items = 0;
  for (const Shard& shard : shards_) items += shard.connected ? shard.state.drawable_items() : 0;
  return items;
}

uint64_t ReplaySampler::MissingStepsLocked() const {
  if (!options_.ratio.held) return 0;
  uint64_t steps = 0;
  for (const Shard& shard : shards_) steps += shard.connected ? shard.state.inserted_steps() : 0;
  return options_.ratio.min_steps - std::min(options_.ratio.min_steps, steps);
}

ReplaySampler::Wait ReplaySampler::WaitLocked() const {
  const auto next = pending_.find(delivered_ + 1);
  if (next != pending_.end() && next->second.missing == 0) return Wait::kNothing;
  const bool asked = next != pending_.end();
  // Of a queue it is asked for before it is there.
  if (asked && !options_.ratio.held) return MassLocked() >= options_.batch_size ? Wait::kBatch : Wait::kItems;
  if (asked && orphans_.empty()) return Wait::kBatch;
  if (std::none_of(shards_.begin(), shards_.end(), [](const Shard& shard) { return shard.connected; })) {
    return Wait::kShards;
  }
  if (!asked && drawn_ >= options_.ratio.BatchesAllowed(env_steps_)) return Wait::kActors;
  const bool few = MassLocked() == 0 || MissingStepsLocked() > 0;
  if (few || (distinct_ && DrawableLocked() < options_.batch_size)) return Wait::kItems;
  return asked ? Wait::kBatch : Wait::kNothing;
}

std::string ReplaySampler::WaitingFor() const {
  switch (WaitLocked()) {
    case Wait::kNothing:
      return "";
    case Wait::kShards:
      return "the replay shards: none is connected";
    case Wait::kActors:
      return absl::StrFormat("actors: %d environment steps inserted, the next update needs %d", env_steps_,
                             options_.ratio.StepsNeeded(drawn_ + 1));
    case Wait::kItems:
      if (const uint64_t missing = MissingStepsLocked(); missing > 0) {
        return absl::StrFormat("items: of the %d steps that updates begin with, the replay shards have lost %d",
                               options_.ratio.min_steps, missing);
      }
      if (distinct_) {
        return absl::StrFormat("items: a batch without replacement needs %d, and the replay shards have %d",
                               options_.batch_size, DrawableLocked());
      }
      if (options_.ratio.held) return "items: the replay shards have none that could be drawn";
      return absl::StrFormat("actors: a batch needs %d items, and %d are in the queue", options_.batch_size,
                             static_cast<uint64_t>(MassLocked()));
    case Wait::kBatch:
      return "a batch from the replay shards";
  }
  return "";
}

ReplaySampler::Stats ReplaySampler::stats() const {
  MutexLock lock(&mutex_);
  Stats stats;
  stats.env_steps = env_steps_;
  stats.lost_steps = lost_steps_;
  stats.disconnections = disconnections_;
  for (const Shard& shard : shards_) {
    stats.states.push_back(shard.state);
    stats.restored_from.push_back(shard.restored_from);
    if (!shard.connected) continue;
    ++stats.connected_shards;
    stats.items += shard.state.items();
    stats.stored_bytes += shard.state.stored_bytes();
    stats.sampled_items += shard.state.sampled_items();
    stats.writers += shard.state.writers();
    stats.blocked_writers += shard.state.blocked_writers();
  }
  for (const auto& [batch, pending] : pending_) stats.ready_batches += pending.missing == 0;
  stats.wait = WaitLocked();
  stats.waiting_for = WaitingFor();
  return stats;
}

uint64_t ReplaySampler::env_steps() const {
  MutexLock lock(&mutex_);
  return env_steps_;
}

}  // namespace headrace
