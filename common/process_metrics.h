// What Prometheus' own client libraries tell of every process, under their names: process_cpu_seconds_total,
// process_resident_memory_bytes, process_open_fds, process_max_fds and process_start_time_seconds.
//
// Thread-safe. Reads /proc when it is scraped; what cannot be read is left out.
#ifndef HEADRACE_COMMON_PROCESS_METRICS_H_
#define HEADRACE_COMMON_PROCESS_METRICS_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace headrace {

class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_PROCESS_METRICS_H_
