// Where tensors live, from its name in the configuration.
#ifndef HEADRACE_MODEL_DEVICE_H_
#define HEADRACE_MODEL_DEVICE_H_

#include <cstdint>
#include <string_view>

#include "ATen/core/Generator.h"
#include "absl/status/statusor.h"
#include "c10/core/Device.h"

namespace headrace {

// "cpu", "cuda" (the first one) or "cuda:N". InvalidArgument: no such name. FailedPrecondition: this machine or this
// build has no such device.
absl::StatusOr<c10::Device> ParseDevice(std::string_view name);

// A random generator of its own on that device.
at::Generator NewGenerator(c10::Device device, uint64_t seed);

}  // namespace headrace

#endif  // HEADRACE_MODEL_DEVICE_H_
