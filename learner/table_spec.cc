#include "learner/table_spec.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "replay/item_store.h"
#include "replay/row_layout.h"
#include "replay/sample_plan.h"

namespace headrace {

namespace {

// A queue's shards each have place for a batch: the learner can always draw from one that is full. In rounds actors
// wait for each other anyway; as much as fits into a quarter of the budget is enough, however many actors there are.
uint64_t MaxItems(const v1::ReplayConfig& replay, const Experience& experience) {
  if (!experience.queue) return std::max<uint64_t>(1, replay.capacity() / replay.shards());
  if (experience.round_steps == 0) {
    return std::max<uint64_t>(1, replay.queue_batches() / replay.shards()) * experience.batch_size;
  }
  const absl::StatusOr<RowLayout> layout = RowLayout::Create(experience.signature);
  const uint64_t row_bytes = layout.ok() ? layout->most_row_bytes() : 1;  // a shard says what is wrong with it
  const uint64_t item_bytes = 4 * ((experience.context_rows + experience.item_rows) * row_bytes +
                                   ItemStore::BookBytes(experience.sampler, experience.remover));
  return std::max<uint64_t>(1, replay.budget_bytes() / replay.shards() / item_bytes);
}

}  // namespace

v1::TableSpec MakeTableSpec(const v1::RunConfig& config, const Experience& experience) {
  const v1::ReplayConfig& replay = config.replay();
  v1::TableSpec table;
  table.set_name("experience");
  *table.mutable_signature() = experience.signature;
  table.set_sampler(experience.sampler);
  table.set_remover(experience.remover);
  if (experience.sampler == v1::PROPORTIONAL) table.set_priority_exponent(experience.priority_exponent);
  table.set_max_items(MaxItems(replay, experience));
  table.set_max_bytes(replay.budget_bytes() / replay.shards());
  table.set_max_times_sampled(experience.max_times_sampled);
  table.set_max_item_rows(experience.context_rows + experience.item_rows);
  table.set_min_item_rows(experience.ShortestItemRows());
  table.set_context_rows(experience.context_rows);
  table.set_lockstep(config.deterministic());
  table.set_queue(experience.queue);
  table.set_items_span_episodes(experience.span_episodes);
  return table;
}

absl::Status CheckBatchSize(const v1::RunConfig& config, const Experience& experience) {
  if (experience.batch_size <= kMaxBatchSize) return absl::OkStatus();
  if (experience.round_steps == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected batches of up to %d items, got %d", kMaxBatchSize, experience.batch_size));
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("actor.processes times actor.environments: a round is a batch, of an item for each environment: "
                      "expected up to %d, "
                      "got %d times %d",
                      kMaxBatchSize, config.actor().processes(), config.actor().environments()));
}

Ratio MakeRatio(const v1::RunConfig& config, const Experience& experience) {
  const uint64_t end = config.stop().env_steps();
  return {.updates_per_step = experience.updates_per_step,
          .min_steps = config.replay().min_steps(),
          .lead_steps = config.deterministic() ? 1 : config.replay().lead_steps(),
          .max_steps = end > 0 ? end : UINT64_MAX,
          .held = !experience.queue};
}

}  // namespace headrace
