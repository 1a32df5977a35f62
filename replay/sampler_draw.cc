// What a sampler asks the shards for: batches, and how many steps it lets them take in.
#include <algorithm>
#include <utility>

#include "common/random.h"
#include "replay/sampler.h"
#include "replay/shard_draws.h"

namespace headrace {
namespace {

// How long a shard may hold a request that finds no items; then it is asked again.
constexpr uint32_t kSampleTimeoutMs = 1000;

// At a time; so that products with numbers of writers stay numbers.
constexpr uint64_t kMostStepsGranted = uint64_t{1} << 40;

// Steps of a shard of which it tells, at the latest, while the learner waits for steps.
constexpr uint64_t kHearEvery = 100;

}  // namespace

void ReplaySampler::Ask() {
  while (fatal_.ok() && (RedrawOrphans() || DrawNext())) {
  }
  Grant();
}

bool ReplaySampler::DrawNext() {
  if (free_slots_.empty() || !orphans_.empty()) return false;
  if (drawn_ >= options_.ratio.BatchesAllowed(env_steps_)) return false;
  const uint64_t batch = drawn_ + 1;
  if (!Draw(batch, 0, options_.batch_size, 0)) return false;
  pending_[batch] = {free_slots_.back(), options_.batch_size, ConditionVariable::Clock::now()};
  free_slots_.pop_back();
  drawn_ = batch;
  return true;
}

bool ReplaySampler::RedrawOrphans() {
  if (orphans_.empty()) return false;
  const Piece piece = orphans_.back();
  if (distinct_) return RedrawBatch(piece.batch);
  // Other items than those that were lost: the salt is new each time.
  if (!Draw(piece.batch, piece.first, piece.count, next_request_)) return false;
  orphans_.pop_back();
  return true;
}

// Parts that are drawn one after the other might have items in common.
bool ReplaySampler::RedrawBatch(uint64_t batch) {
  const auto of_batch = [batch](const Piece& piece) { return piece.batch == batch; };
  for (const auto& [number, piece] : pieces_) {
    if (of_batch(piece)) return false;
  }
  if (!Draw(batch, 0, options_.batch_size, next_request_)) return false;
  std::erase_if(orphans_, of_batch);
  pending_.at(batch).missing = options_.batch_size;
  return true;
}

bool ReplaySampler::Draw(uint64_t batch, uint32_t first, uint32_t count, uint64_t salt) {
  std::vector<ShardStock> stocks(shards_.size());
  for (size_t i = 0; i < shards_.size(); ++i) {
    const v1::TableState& state = shards_[i].state;
    if (!shards_[i].connected) continue;
    stocks[i] = {state.mass(), distinct_ ? static_cast<double>(state.drawable_items()) : state.mass()};
  }
  // A shard is not asked for more than a queue holds, while another may have enough; a single one is, and waits.
  const bool queue =
      options_.table.max_times_sampled() == 1 && options_.table.sampler() != v1::PROPORTIONAL && shards_.size() > 1;
  if (queue) {
    for (const auto& [number, piece] : pieces_) {
      ShardStock& stock = stocks[piece.shard];
      stock.mass = stock.items = std::max(0.0, stock.mass - piece.count);
    }
  }
  const double total = TotalMass(stocks);
  const bool once = queue || distinct_;
  const bool enough = total > 0 && MissingStepsLocked() == 0 && (!once || TotalItems(stocks) >= count);
  lacks_items_ = refused_ || (!enough && pieces_.empty());
  if (!enough) return false;
  RandomStream random(DrawKey(options_.seed, 0, batch, salt));
  const std::vector<uint32_t> draws = SplitDraws(count, stocks, once, random);
  for (size_t i = 0; i < shards_.size(); ++i) {
    if (draws[i] == 0) continue;
    const uint64_t number = next_request_++;
    pieces_[number] = {.batch = batch, .shard = i, .first = first, .count = draws[i], .share = stocks[i].mass / total};
    first += draws[i];
    v1::SampleRequest request;
    request.set_request(number);
    request.set_batch_size(draws[i]);
    request.set_random_key(DrawKey(options_.seed, i + 1, batch, salt));
    request.set_timeout_ms(kSampleTimeoutMs);
    outgoing_.requests.push_back({shards_[i].connection.get(), std::move(request)});
  }
  return true;
}

// Steps that may still be inserted are shared out in proportion to the writers of each shard. What one shard does not
// use is shared out again when another one's writers wait.
void ReplaySampler::Grant() {
  uint64_t writers = 0;
  for (const Shard& shard : shards_) writers += shard.connected ? shard.state.writers() : 0;
  uint64_t allowed = options_.ratio.StepsAllowed(updates_);
  // Steps need not become items at once: sequences must fill up, short episodes give none. While the next batch lacks
  // nothing but items, steps are granted beyond the ratio, or both sides would wait for ever.
  const uint64_t lacking = MissingStepsLocked();
  const uint64_t beyond = std::max({uint64_t{1}, options_.ratio.lead_steps, lacking});
  if (lacks_items_) allowed = std::max(allowed, env_steps_ + beyond);
  const uint64_t left = std::min(allowed > env_steps_ ? allowed - env_steps_ : 0, kMostStepsGranted);
  const uint64_t needed = options_.ratio.StepsNeeded(drawn_ + 1);
  const uint64_t missing = needed > env_steps_ ? needed - env_steps_
                           : lacks_items_      ? std::max<uint64_t>(1, lacking)
                                               : 0;
  const uint64_t hysteresis = options_.table.lockstep() ? 1 : std::max<uint64_t>(1, options_.ratio.lead_steps / 8);
  for (Shard& shard : shards_) {
    if (!shard.connected) continue;
    const uint64_t weight = writers == 0 ? 1 : shard.state.writers();
    const uint64_t weights = writers == 0 ? shards_.size() : writers;
    const uint64_t limit = shard.state.inserted_steps() + (left * weight + weights - 1) / weights;
    // Where actors are ahead of the learner they all wait, and need not be told of each single step.
    const bool changed = limit >= shard.granted + hysteresis || limit + hysteresis <= shard.granted ||
                         (limit > shard.granted && missing > 0 && shard.state.blocked_writers() > 0);
    // While the learner waits for steps it wants to hear of them; often, because what it has not heard of is not missed
    // when the shard dies.
    const uint64_t next = std::clamp<uint64_t>(missing / shards_.size(), 1, kHearEvery);
    const uint64_t notify_at = missing == 0 ? UINT64_MAX : shard.state.inserted_steps() + next;
    const bool first = shard.notify_at == 0;
    if (!first && !changed && (missing == 0 || notify_at == shard.notify_at)) continue;
    shard.granted = limit;
    shard.notify_at = notify_at;
    v1::CoordinateRequest request;
    *request.mutable_peer() = options_.peer;
    request.set_table(options_.table.name());
    request.set_insert_limit(shard.granted);
    request.set_notify_at(notify_at);
    request.set_policy_version(policy_version_);
    outgoing_.grants.push_back({shard.connection.get(), std::move(request)});
  }
}

}  // namespace headrace
