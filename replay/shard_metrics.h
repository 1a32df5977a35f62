// A shard's Prometheus metrics, one set for each table.
#ifndef HEADRACE_REPLAY_SHARD_METRICS_H_
#define HEADRACE_REPLAY_SHARD_METRICS_H_

#include <map>
#include <string>

#include "common/metrics.h"
#include "replay/shard.h"

namespace headrace {

class ShardMetrics {
 public:
  explicit ShardMetrics(MetricRegistry& registry);

  // Brings the metrics up to date; called in intervals, so that the data path need not count.
  void Update(const Shard& shard);

 private:
  struct TableMetrics {
    prometheus::Counter& inserted_steps;
    prometheus::Counter& sampled_steps;
    prometheus::Gauge& table_inserted_steps;
    prometheus::Gauge& table_sampled_steps;
    prometheus::Counter& removed_items;
    prometheus::Counter& budget_removed_items;
    prometheus::Counter& lost_chunks;
    prometheus::Counter& lost_items;
    prometheus::Counter& priority_updates;
    prometheus::Counter& unknown_priority_keys;
    prometheus::Gauge& stored_bytes;
    prometheus::Gauge& budget_bytes;
    prometheus::Gauge& stored_items;
    prometheus::Gauge& capacity_items;
    prometheus::Gauge& writers;
    prometheus::Gauge& blocked_writers;
    prometheus::Gauge& insert_limit;
  };
  TableMetrics& ForTable(const std::string& shard, const std::string& table);

  const CounterFamily inserted_steps_;
  const CounterFamily sampled_steps_;
  const GaugeFamily table_inserted_steps_;
  const GaugeFamily table_sampled_steps_;
  const CounterFamily removed_items_;
  const CounterFamily budget_removed_items_;
  const CounterFamily lost_chunks_;
  const CounterFamily lost_items_;
  const CounterFamily priority_updates_;
  const CounterFamily unknown_priority_keys_;
  const GaugeFamily stored_bytes_;
  const GaugeFamily budget_bytes_;
  const GaugeFamily stored_items_;
  const GaugeFamily capacity_items_;
  const GaugeFamily writers_;
  const GaugeFamily blocked_writers_;
  const GaugeFamily insert_limit_;
  std::map<std::string, TableMetrics> tables_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SHARD_METRICS_H_
