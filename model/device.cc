#include "model/device.h"

#include <mutex>
#include <string>

#include "ATen/CPUGeneratorImpl.h"
#include "ATen/Context.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace headrace {

absl::StatusOr<c10::Device> ParseDevice(std::string_view name) {
  if (name == "cpu") return c10::Device(c10::kCPU);
  absl::string_view rest(name.data(), name.size());
  int index = 0;
  const bool cuda =
      absl::ConsumePrefix(&rest, "cuda") &&
      (rest.empty() || (absl::ConsumePrefix(&rest, ":") && absl::SimpleAtoi(rest, &index) && index >= 0 && index < 64));
  if (!cuda) {
    return absl::InvalidArgumentError(
        absl::StrCat("device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"", std::string(name), "\""));
  }
  if (!at::hasCUDA()) {
    return absl::FailedPreconditionError(
        absl::StrCat("device: ", std::string(name),
                     " is not available: this build of LibTorch has no CUDA (CONTRIBUTING.md: --config=cuda), or the "
                     "machine has no CUDA device"));
  }
  const int count = at::detail::getCUDAHooks().deviceCount();
  if (index >= count) {
    return absl::FailedPreconditionError(
        absl::StrCat("device: ", std::string(name), " is not available: this machine has ", count, " CUDA devices"));
  }
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

at::Generator NewGenerator(c10::Device device, uint64_t seed) {
  at::Generator generator =
      device.is_cuda() ? at::detail::getCUDAHooks().getNewGenerator(device.index()) : at::detail::createCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_current_seed(seed);
  return generator;
}

}  // namespace headrace
