#include "replay/shard_metrics.h"

#include "absl/strings/str_cat.h"

namespace headrace {
namespace {

const std::vector<std::string> kLabels = {"shard", "table"};

// To what has come since this life began. A counter that went on from a checkpoint, which is of a moment before the
// last life's end, would fall, and everybody takes a counter that falls for one that has begun at 0 again.
void RaiseTo(prometheus::Counter& counter, uint64_t total, uint64_t restored) {
  const double difference = static_cast<double>(total) - static_cast<double>(restored) - counter.Value();
  if (difference > 0) counter.Increment(difference);
}

}  // namespace

ShardMetrics::ShardMetrics(MetricRegistry& registry)
    : inserted_steps_(registry.AddCounterFamily("headrace_replay_inserted_steps_total",
                                                "Environment steps stored since this process started.", kLabels)),
      sampled_steps_(registry.AddCounterFamily("headrace_replay_sampled_steps_total",
                                               "Environment steps of the items handed to samplers since this process "
                                               "started.",
                                               kLabels)),
      table_inserted_steps_(registry.AddGaugeFamily("headrace_replay_table_inserted_steps",
                                                    "Environment steps stored, over all lives of the table.", kLabels)),
      table_sampled_steps_(registry.AddGaugeFamily(
          "headrace_replay_table_sampled_steps",
          "Environment steps of the items handed to samplers, over all lives of the table.", kLabels)),
      removed_items_(registry.AddCounterFamily("headrace_replay_removed_items_total",
                                               "Items removed since this process started, to make room or because they "
                                               "were sampled often enough.",
                                               kLabels)),
      budget_removed_items_(registry.AddCounterFamily(
          "headrace_replay_budget_removed_items_total",
          "Of the items removed those for which the table's bytes were used up before it held as many as it may.",
          kLabels)),
      lost_chunks_(registry.AddCounterFamily(
          "headrace_replay_lost_chunks_total",
          "Chunks acknowledged by an earlier life of the shard that were in no checkpoint.", kLabels)),
      lost_items_(registry.AddCounterFamily("headrace_replay_lost_items_total",
                                            "Items that reach back to lost chunks, or to rows that had to make room "
                                            "while nothing came from their writer.",
                                            kLabels)),
      priority_updates_(registry.AddCounterFamily("headrace_replay_priority_updates_total",
                                                  "Priorities that learners have set since this process started.",
                                                  kLabels)),
      unknown_priority_keys_(registry.AddCounterFamily("headrace_replay_unknown_priority_keys_total",
                                                       "Priorities that came for items which were gone.", kLabels)),
      stored_bytes_(registry.AddGaugeFamily("headrace_replay_stored_bytes", "Bytes of rows and books.", kLabels)),
      budget_bytes_(registry.AddGaugeFamily("headrace_replay_budget_bytes", "Bytes the table may take.", kLabels)),
      stored_items_(registry.AddGaugeFamily("headrace_replay_stored_items", "Items that can be sampled.", kLabels)),
      capacity_items_(registry.AddGaugeFamily("headrace_replay_capacity_items",
                                              "Items the table may hold; a queue that holds so many takes no chunk, "
                                              "and its last one may have brought more.",
                                              kLabels)),
      writers_(registry.AddGaugeFamily("headrace_replay_writers", "Writers connected.", kLabels)),
      blocked_writers_(registry.AddGaugeFamily("headrace_replay_blocked_writers",
                                               "Writers that wait because the insert limit is reached.", kLabels)),
      insert_limit_(registry.AddGaugeFamily("headrace_replay_insert_limit_steps",
                                            "Steps that may have been inserted in all, as granted by the learner.",
                                            kLabels)) {}

ShardMetrics::TableMetrics& ShardMetrics::ForTable(const std::string& shard, const std::string& table) {
  const auto found = tables_.find(table);
  if (found != tables_.end()) return found->second;
  const std::vector<std::string> labels = {shard, table};
  return tables_
      .emplace(table, TableMetrics{inserted_steps_.With(labels), sampled_steps_.With(labels),
                                   table_inserted_steps_.With(labels), table_sampled_steps_.With(labels),
                                   removed_items_.With(labels), budget_removed_items_.With(labels),
                                   lost_chunks_.With(labels), lost_items_.With(labels), priority_updates_.With(labels),
                                   unknown_priority_keys_.With(labels), stored_bytes_.With(labels),
                                   budget_bytes_.With(labels), stored_items_.With(labels), capacity_items_.With(labels),
                                   writers_.With(labels), blocked_writers_.With(labels), insert_limit_.With(labels)})
      .first->second;
}

void ShardMetrics::Update(const Shard& shard) {
  for (const Table* const table : shard.Tables()) {
    const v1::TableState state = table->State();
    TableMetrics& metrics = ForTable(absl::StrCat(shard.number()), table->spec().name());
    const v1::TableState restored = table->RestoredState();
    RaiseTo(metrics.sampled_steps, state.sampled_steps(), restored.sampled_steps());
    RaiseTo(metrics.removed_items, state.removed_items(), restored.removed_items());
    RaiseTo(metrics.budget_removed_items, table->BudgetRemovedItems(), 0);
    RaiseTo(metrics.lost_items, state.lost_items(), restored.lost_items());
    RaiseTo(metrics.priority_updates, state.priority_updates(), restored.priority_updates());
    RaiseTo(metrics.unknown_priority_keys, state.unknown_priority_keys(), restored.unknown_priority_keys());
    metrics.table_sampled_steps.Set(static_cast<double>(state.sampled_steps()));
    metrics.stored_bytes.Set(static_cast<double>(state.stored_bytes()));
    metrics.budget_bytes.Set(static_cast<double>(table->spec().max_bytes()));
    metrics.stored_items.Set(static_cast<double>(state.items()));
    metrics.capacity_items.Set(static_cast<double>(table->spec().max_items()));
    metrics.insert_limit.Set(static_cast<double>(state.insert_limit()));
    // Steps and writers are those of the table with the rows: once is enough where shards and tables are added up.
    if (!table->spec().over().empty()) continue;
    RaiseTo(metrics.inserted_steps, state.inserted_steps(), restored.inserted_steps());
    RaiseTo(metrics.lost_chunks, state.lost_chunks(), restored.lost_chunks());
    metrics.table_inserted_steps.Set(static_cast<double>(state.inserted_steps()));
    metrics.writers.Set(state.writers());
    metrics.blocked_writers.Set(state.blocked_writers());
  }
}

}  // namespace headrace
