// Parameters of a network whose derivatives autograd finds: named tensors that are views of one flat one, so that an
// optimiser step, a copy, the norm of a gradient or its way over the wire is a single operation.
//
//   FlatParameters parameters({{"layer0/weight", {64, 4}}, {"layer0/bias", {64}}}, at::kCPU);
//   const FlatParameters::Recorded recorded = parameters.Record();
//   at::Tensor loss = ... at::linear(x, recorded.views[0], recorded.views[1]) ...;
//   sink.Apply(0, {recorded.Gradient(loss)});     // shaped like parameters.flat()
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_FLAT_PARAMETERS_H_
#define HEADRACE_MODEL_FLAT_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/named_tensor.h"

namespace headrace {

struct ParameterShape {
  std::string name;
  std::vector<int64_t> shape;
};

class FlatParameters {
 public:
  // Zeros.
  FlatParameters(const std::vector<ParameterShape>& shapes, at::Device device);

  const at::Tensor& flat() const { return flat_; }
  // In the order of the shapes; live.
  const std::vector<at::Tensor>& views() const { return views_; }
  std::vector<NamedTensor> Named(const std::string& prefix) const;
  // For what is shaped like them.
  FlatParameters ZerosLike() const { return FlatParameters(shapes_, flat_.device()); }

  // The same numbers as leaves of a graph that autograd records.
  struct Recorded {
    at::Tensor flat;
    std::vector<at::Tensor> views;

    // Derivative of the scalar `loss`. Parameters that it does not depend on have 0.
    at::Tensor Gradient(const at::Tensor& loss) const { return Gradient({loss}, {}); }
    // The same of a loss that has these derivatives by `outputs`.
    at::Tensor Gradient(const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& output_gradients) const;
  };
  Recorded Record() const;

 private:
  std::vector<at::Tensor> Split(const at::Tensor& flat) const;

  std::vector<ParameterShape> shapes_;
  std::vector<int64_t> sizes_;
  at::Tensor flat_;
  std::vector<at::Tensor> views_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_FLAT_PARAMETERS_H_
