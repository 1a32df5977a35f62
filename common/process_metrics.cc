#include "common/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/file.h"

namespace headrace {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily MakeFamily(const std::string& name, const std::string& help, MetricType type, double value) {
  prometheus::ClientMetric metric;
  metric.counter.value = value;
  metric.gauge.value = value;
  return {name, help, type, {metric}};
}

// Fields of /proc/self/stat, counted from 1 as in proc(5), from the third on: the second, the program's name, may hold
// spaces and ends with the last parenthesis.
class Stat {
 public:
  explicit Stat(const std::string& text) {
    const size_t end = text.rfind(')');
    if (end != std::string::npos)
      fields_ = absl::StrSplit(absl::string_view(text).substr(end + 1), ' ', absl::SkipEmpty());
  }

  double Field(size_t number) const {
    double value = 0;
    if (number < 3 || number - 3 >= fields_.size() || !absl::SimpleAtod(fields_[number - 3], &value)) return 0;
    return value;
  }

 private:
  std::vector<std::string> fields_;
};

// When the machine was started, in seconds since 1970.
double BootTime() {
  const absl::StatusOr<std::string> stat = ReadFile("/proc/stat");
  if (!stat.ok()) return 0;
  for (const absl::string_view line : absl::StrSplit(*stat, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    double seconds = 0;
    if (parts.first == "btime" && absl::SimpleAtod(parts.second, &seconds)) return seconds;
  }
  return 0;
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics::Collect() const {
  std::vector<MetricFamily> families;
  if (const absl::StatusOr<std::string> text = ReadFile("/proc/self/stat"); text.ok()) {
    const Stat stat(*text);
    const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    families.push_back(MakeFamily("process_cpu_seconds_total", "User and system time used, in seconds.",
                                  MetricType::Counter, (stat.Field(14) + stat.Field(15)) / ticks));
    families.push_back(MakeFamily("process_resident_memory_bytes", "Resident memory, in bytes.", MetricType::Gauge,
                                  stat.Field(24) * static_cast<double>(::sysconf(_SC_PAGESIZE))));
    families.push_back(MakeFamily("process_start_time_seconds", "When the process started, in seconds since 1970.",
                                  MetricType::Gauge, BootTime() + stat.Field(22) / ticks));
  }
  if (const absl::StatusOr<std::vector<std::string>> files = ListDirectory("/proc/self/fd"); files.ok()) {
    // One of them is the listing's own.
    families.push_back(MakeFamily("process_open_fds", "Open file descriptors.", MetricType::Gauge,
                                  static_cast<double>(files->size() - 1)));
  }
  struct rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    families.push_back(MakeFamily("process_max_fds", "How many file descriptors the process may open.",
                                  MetricType::Gauge, static_cast<double>(limit.rlim_cur)));
  }
  return families;
}

}  // namespace headrace
