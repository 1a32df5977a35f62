// Named tensors to and from one safetensors file: what the learner publishes, and what checkpoints hold.
//
//   ASSIGN_OR_RETURN(std::string file, SaveTensors(algorithm->PolicyTensors(), {{"env_steps", "1000"}}));
//   RETURN_IF_ERROR(LoadTensors(file, policy->Tensors()));
//
// Thread-safe as long as nobody else uses the tensors.
#ifndef HEADRACE_MODEL_WEIGHTS_H_
#define HEADRACE_MODEL_WEIGHTS_H_

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/named_tensor.h"

namespace headrace {

// Waits for the tensors' device and copies them. INVALID_ARGUMENT: a type that the format does not know, a name used
// twice, or metadata that is not UTF-8.
absl::StatusOr<std::string> SaveTensors(const std::vector<NamedTensor>& tensors,
                                        const std::map<std::string, std::string>& metadata);

// Copies the file's arrays into live tensors on any device. File and list must hold the same names, each with the same
// shape and type, but for those `unused`, which the file may have besides; otherwise INVALID_ARGUMENT names the first
// that differs, expected and actual, and nothing is written.
absl::Status LoadTensors(std::string_view file, const std::vector<NamedTensor>& tensors,
                         const std::set<std::string_view>& unused = {});

}  // namespace headrace

#endif  // HEADRACE_MODEL_WEIGHTS_H_
