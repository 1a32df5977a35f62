#include "common/machine.h"

#include <sched.h>
#include <unistd.h>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
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

uint32_t UsableCores() {
  cpu_set_t cores;
  // More cores than the set has room for: the system's count is all there is.
  if (::sched_getaffinity(0, sizeof(cores), &cores) != 0) return static_cast<uint32_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  return static_cast<uint32_t>(CPU_COUNT(&cores));
}

}  // namespace

Machine ThisMachine() {
  char hostname[256] = "";
  ::gethostname(hostname, sizeof(hostname) - 1);
  return {hostname, CpuModel(), UsableCores(),
          static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE))};
}

}  // namespace headrace
