#include "common/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/file.h"

namespace headrace {
namespace {

std::string CpuModel() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/cpuinfo");
  if (!text.ok()) return "";
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::StripAsciiWhitespace(parts.first) == "model name") {
      return std::string(absl::StripAsciiWhitespace(parts.second));
    }
  }
  return "";
}

uint32_t AffineCores() {
  cpu_set_t cores;
  // More cores than the set has room for: the system's count is all there is.
  if (::sched_getaffinity(0, sizeof(cores), &cores) != 0) return static_cast<uint32_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  return static_cast<uint32_t>(CPU_COUNT(&cores));
}

// Of control groups of version 2: "QUOTA PERIOD" in microseconds, or "max PERIOD". Infinity: no limit.
double CoresOfTheQuota(const std::string& group) {
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  const absl::StatusOr<std::string> text = ReadFile(absl::StrCat("/sys/fs/cgroup", group, "/cpu.max"));
  if (!text.ok()) return kNoLimit;
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(*text, absl::MaxSplits(' ', 1));
  double quota = 0, period = 0;
  if (!absl::SimpleAtod(parts.first, &quota) || !absl::SimpleAtod(absl::StripAsciiWhitespace(parts.second), &period) ||
      quota <= 0 || period <= 0) {
    return kNoLimit;
  }
  return quota / period;
}

}  // namespace

uint32_t UsableCores() {
  double cores = AffineCores();
  // A container sees its own group as the root; elsewhere every group above has its say, too.
  std::string group;
  if (const absl::StatusOr<std::string> text = ReadFile("/proc/self/cgroup"); text.ok()) {
    for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
      if (absl::StartsWith(line, "0::/")) group = std::string(absl::StripSuffix(line.substr(3), "/"));
    }
  }
  while (true) {
    cores = std::min(cores, CoresOfTheQuota(group));
    if (group.empty()) break;
    group.resize(group.rfind('/'));
  }
  return static_cast<uint32_t>(std::max(1.0, std::ceil(cores)));
}

Machine ThisMachine() {
  char hostname[256] = "";
  ::gethostname(hostname, sizeof(hostname) - 1);
  return {hostname, CpuModel(), UsableCores(),
          static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE))};
}

}  // namespace headrace
