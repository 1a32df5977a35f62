// Multi-layer perceptrons, alone or as an ensemble that is evaluated in one batched matrix product a layer.
//
// All parameters of a network are views of one flat tensor: an optimiser step, a target network's average or a copy is
// a single operation, however many layers and members there are.
//
//   const MlpSpec spec = {.inputs = 23, .hidden = {256, 256}, .outputs = 1, .members = 2};
//   MlpParameters critics = MlpParameters::Zeros(spec, cpu);
//   InitializeFanInUniform(critics, random);
//   MlpPass pass;
//   const at::Tensor& q = pass.Forward(critics, x);            // [2, B, 1]
//   pass.BackwardParameters(critics, d_loss_by_q, gradients);  // gradients: another MlpParameters
//
// Derivatives are written out rather than recorded by autograd: that costs no bookkeeping, uses the same memory in each
// update, and computes exactly the gradients that are asked for. Where autograd is wanted, EvaluateMlp is plain tensor
// operations; it is also what the derivatives are tested against.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_MLP_H_
#define HEADRACE_MODEL_MLP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/named_tensor.h"

namespace headrace {

enum class Activation { kRelu, kTanh };

struct MlpSpec {
  int64_t inputs = 0;
  std::vector<int64_t> hidden;  // units of each hidden layer
  int64_t outputs = 0;
  int64_t members = 1;  // independent networks of the ensemble
  Activation activation = Activation::kRelu;
  bool activate_outputs = false;  // the outputs are features for other networks
};

// y = x weight + bias for each member.
struct LinearParameters {
  at::Tensor weight;  // [members, in, out]
  at::Tensor bias;    // [members, 1, out]
};

// The parameters of a network, or anything that is shaped like them: gradients, a lagged copy.
struct MlpParameters {
  MlpSpec spec;
  at::Tensor flat;  // owns the memory; padding between the layers stays zero. Undefined where it is somebody else's.
  std::vector<LinearParameters> layers;

  static MlpParameters Zeros(const MlpSpec& spec, at::Device device);
  // Views "PREFIX/layer0/weight" [members, in, out] and "PREFIX/layer0/bias" [members, out]; a single network's have
  // no members dimension.
  std::vector<NamedTensor> Named(const std::string& prefix) const;
};

// [B, inputs] -> [members, B, outputs].
at::Tensor EvaluateMlp(const MlpParameters& parameters, const at::Tensor& x);

// One evaluation and its derivative, in memory that is reused as long as the number of rows stays the same. What
// Forward and Backward return is valid until the next call of the same function.
class MlpPass {
 public:
  // x: [B, inputs], shared by the members; it must not change before the last Backward. Returns [members, B, outputs].
  const at::Tensor& Forward(const MlpParameters& parameters, const at::Tensor& x);

  // Derivatives of a loss whose derivative by the output is `output_gradient` [members, n, outputs]. n may be less than
  // B: the loss then depends on the first n rows only. The parameters must still be those of Forward.
  //
  // By the parameters, written to `gradients`:
  void BackwardParameters(const MlpParameters& parameters, const at::Tensor& output_gradient, MlpParameters& gradients);
  // By columns [first, first + count) of x, [n, count]; the parameters' derivatives are not computed.
  const at::Tensor& BackwardInput(const MlpParameters& parameters, const at::Tensor& output_gradient, int64_t first,
                                  int64_t count);

 private:
  // Derivative by what the last layer adds up, from that by the outputs.
  const at::Tensor& BackpropagateOutput(const MlpParameters& parameters, const at::Tensor& output_gradient);
  // Derivative by what layer `layer` adds up, before its activation, from that of the layer behind it.
  at::Tensor Backpropagate(const MlpParameters& parameters, size_t layer, const at::Tensor& next_gradient);

  at::Tensor input_;
  std::vector<at::Tensor> outputs_;           // of each layer, after its activation
  std::vector<at::Tensor> hidden_gradients_;  // by what each hidden layer adds up
  at::Tensor summed_output_gradient_;
  at::Tensor member_input_gradients_;
  at::Tensor input_gradient_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_MLP_H_
