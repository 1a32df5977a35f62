// A process that does nothing but to serve metrics and health, and to end as --then says.
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "common/metrics.h"
#include "common/process.h"
#include "common/shutdown.h"
#include "common/status_macros.h"

ABSL_FLAG(std::string, then, "done",
          "how to end: done, unavailable, refused, seedless, throw, when it is told to: wait, for six seconds: "
          "wait_a_while, or not at all: hang");

namespace headrace {
namespace {

absl::Status Serve(const ProcessFlags& flags) {
  MetricRegistry registry("test");
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessPorts> ports, ProcessPorts::Open(flags, registry));
  RETURN_IF_ERROR(ports->Ready(flags, "127.0.0.1:4711"));
  const std::string then = absl::GetFlag(FLAGS_then);
  if (then == "unavailable") return absl::UnavailableError("nobody answers");
  if (then == "seedless") return absl::InvalidArgumentError("seed: expected another one");
  if (then == "refused") return absl::FailedPreconditionError("another run");
  if (then == "wait" || then == "wait_a_while") {
    return ShutdownSignal::WaitUntil(std::chrono::steady_clock::now() + std::chrono::seconds(then == "wait" ? 60 : 6))
               ? absl::CancelledError("interrupted")
               : absl::DeadlineExceededError("nobody has told me to");
  }
  while (then == "hang") std::this_thread::sleep_for(std::chrono::seconds(1));
  if (then == "throw") throw std::runtime_error("out of tensors");
  return Stay(flags, absl::OkStatus());
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  return headrace::RunProcess(argc, argv, "test: a process for tests", headrace::Serve, std::chrono::seconds(1));
}
