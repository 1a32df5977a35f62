// What turns observations into features, below the heads of policy and value: hidden layers, or convolutions over
// planes.
//
// Torsos are functions of parameters that somebody else owns. Stateless, so thread-safe.
#ifndef HEADRACE_MODEL_TORSO_H_
#define HEADRACE_MODEL_TORSO_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "model/flat_parameters.h"
#include "proto/algorithm/network.pb.h"

namespace headrace {

class Torso {
 public:
  virtual ~Torso() = default;

  virtual const std::vector<ParameterShape>& parameters() const = 0;
  virtual int64_t features() const = 0;  // that come out, for each observation
  // observations: [B, shape...], bytes or floats. Returns [B, features].
  virtual at::Tensor Forward(std::span<const at::Tensor> parameters, const at::Tensor& observations) const = 0;
};

// observation: its shape. InvalidArgument: one that the torso does not take, and what it does.
absl::StatusOr<std::unique_ptr<Torso>> MakeTorso(const v1::NetworkOptions& options,
                                                 const std::vector<int64_t>& observation);

}  // namespace headrace

#endif  // HEADRACE_MODEL_TORSO_H_
