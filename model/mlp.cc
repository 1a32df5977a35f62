#include "model/mlp.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/_add_relu.h"
#include "ATen/ops/baddbmm.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/mul.h"
#include "ATen/ops/sum.h"
#include "ATen/ops/tanh_backward.h"
#include "ATen/ops/threshold_backward.h"
#include "ATen/ops/zeros.h"
#include "c10/util/Exception.h"

namespace headrace {
namespace {

// Floats in 64 bytes: each tensor of the flat buffer starts on a cache line.
constexpr int64_t kAlignment = 16;

int64_t Aligned(int64_t elements) { return (elements + kAlignment - 1) / kAlignment * kAlignment; }

std::vector<int64_t> LayerSizes(const MlpSpec& spec) {
  std::vector<int64_t> sizes = {spec.inputs};
  sizes.insert(sizes.end(), spec.hidden.begin(), spec.hidden.end());
  sizes.push_back(spec.outputs);
  return sizes;
}

// `buffer` if it has this shape already, else a new one in its place.
at::Tensor& Reuse(at::Tensor& buffer, at::IntArrayRef shape, const at::Tensor& like) {
  if (!buffer.defined() || buffer.sizes() != shape) buffer = at::empty(shape, like.options());
  return buffer;
}

// y <- f(y + bias), for a hidden layer. On the CPU bias and ReLU take one pass over memory together.
void AddBiasAndActivate(Activation activation, const at::Tensor& bias, at::Tensor& y) {
  if (activation == Activation::kRelu && y.is_cpu()) {
    at::_add_relu_(y, bias);
  } else if (activation == Activation::kRelu) {
    y.add_(bias).relu_();
  } else {
    y.add_(bias).tanh_();
  }
}

// y <- x weight. A product with a single column is computed as that of the transposed matrices: the libraries take a
// third of the time for a single row.
void Multiply(const at::Tensor& x, const at::Tensor& weight, at::Tensor& y) {
  if (weight.size(2) == 1) {
    at::Tensor transposed = y.transpose(1, 2);
    at::bmm_out(transposed, weight.transpose(1, 2), x.transpose(1, 2));
  } else {
    at::bmm_out(y, x, weight);
  }
}

// result <- gradient * f'(z), from y = f(z). They may be the same tensor.
void ActivationBackward(Activation activation, const at::Tensor& y, const at::Tensor& gradient, at::Tensor& result) {
  if (activation == Activation::kRelu) {
    at::threshold_backward_out(result, gradient, y, 0);
  } else {
    at::tanh_backward_out(result, gradient, y);
  }
}

}  // namespace

MlpParameters MlpParameters::Zeros(const MlpSpec& spec, at::Device device) {
  const std::vector<int64_t> sizes = LayerSizes(spec);
  int64_t elements = 0;
  for (size_t i = 0; i + 1 < sizes.size(); ++i) {
    elements += Aligned(spec.members * sizes[i] * sizes[i + 1]) + Aligned(spec.members * sizes[i + 1]);
  }
  MlpParameters parameters;
  parameters.spec = spec;
  parameters.flat = at::zeros({elements}, at::TensorOptions().device(device).dtype(at::kFloat));
  int64_t offset = 0;
  const auto view = [&](std::vector<int64_t> shape) {
    const int64_t count = shape[0] * shape[1] * shape[2];
    at::Tensor result = parameters.flat.narrow(0, offset, count).view(shape);
    offset += Aligned(count);
    return result;
  };
  for (size_t i = 0; i + 1 < sizes.size(); ++i) {
    at::Tensor weight = view({spec.members, sizes[i], sizes[i + 1]});
    at::Tensor bias = view({spec.members, 1, sizes[i + 1]});
    parameters.layers.push_back({std::move(weight), std::move(bias)});
  }
  return parameters;
}

std::vector<NamedTensor> MlpParameters::Named(const std::string& prefix) const {
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string layer = prefix + "/layer" + std::to_string(i);
    const at::Tensor bias = layers[i].bias.squeeze(1);
    named.push_back({layer + "/weight", spec.members == 1 ? layers[i].weight.squeeze(0) : layers[i].weight});
    named.push_back({layer + "/bias", spec.members == 1 ? bias.squeeze(0) : bias});
  }
  return named;
}

at::Tensor EvaluateMlp(const MlpParameters& parameters, const at::Tensor& x) {
  at::Tensor h = x.expand({parameters.spec.members, x.size(0), x.size(1)});
  for (size_t i = 0; i < parameters.layers.size(); ++i) {
    h = at::baddbmm(parameters.layers[i].bias, h, parameters.layers[i].weight);
    if (i + 1 < parameters.layers.size() || parameters.spec.activate_outputs) {
      h = parameters.spec.activation == Activation::kRelu ? h.relu() : h.tanh();
    }
  }
  return h;
}

const at::Tensor& MlpPass::Forward(const MlpParameters& parameters, const at::Tensor& x) {
  const int64_t members = parameters.spec.members;
  TORCH_CHECK(x.dim() == 2 && x.size(1) == parameters.spec.inputs, "a network of ", parameters.spec.inputs,
              " inputs was given a tensor of shape ", x.sizes());
  input_ = x.expand({members, x.size(0), x.size(1)});
  const size_t layers = parameters.layers.size();
  outputs_.resize(layers);
  for (size_t i = 0; i < layers; ++i) {
    const auto& [weight, bias] = parameters.layers[i];
    at::Tensor& y = Reuse(outputs_[i], {members, x.size(0), weight.size(2)}, x);
    Multiply(i == 0 ? input_ : outputs_[i - 1], weight, y);
    if (i + 1 < layers || parameters.spec.activate_outputs) {
      AddBiasAndActivate(parameters.spec.activation, bias, y);
    } else {
      y.add_(bias);
    }
  }
  return outputs_.back();
}

const at::Tensor& MlpPass::BackpropagateOutput(const MlpParameters& parameters, const at::Tensor& output_gradient) {
  if (!parameters.spec.activate_outputs) return output_gradient;
  const at::Tensor y = outputs_.back().narrow(1, 0, output_gradient.size(1));
  at::Tensor& gradient = Reuse(summed_output_gradient_, y.sizes(), y);
  ActivationBackward(parameters.spec.activation, y, output_gradient, gradient);
  return gradient;
}

at::Tensor MlpPass::Backpropagate(const MlpParameters& parameters, size_t layer, const at::Tensor& next_gradient) {
  const at::Tensor& weight = parameters.layers[layer + 1].weight;
  const at::Tensor y = outputs_[layer].narrow(1, 0, next_gradient.size(1));
  hidden_gradients_.resize(parameters.layers.size() - 1);
  at::Tensor& gradient = Reuse(hidden_gradients_[layer], y.sizes(), y);
  if (weight.size(2) == 1) {
    at::mul_out(gradient, next_gradient, weight.transpose(1, 2));
  } else {
    at::bmm_out(gradient, next_gradient, weight.transpose(1, 2));
  }
  ActivationBackward(parameters.spec.activation, y, gradient, gradient);
  return gradient;
}

void MlpPass::BackwardParameters(const MlpParameters& parameters, const at::Tensor& output_gradient,
                                 MlpParameters& gradients) {
  at::Tensor gradient = BackpropagateOutput(parameters, output_gradient);
  const int64_t rows = output_gradient.size(1);
  for (size_t i = parameters.layers.size(); i-- > 0;) {
    const at::Tensor& x = i == 0 ? input_ : outputs_[i - 1];
    Multiply(x.narrow(1, 0, rows).transpose(1, 2), gradient, gradients.layers[i].weight);
    at::sum_out(gradients.layers[i].bias, gradient, 1, /*keepdim=*/true);
    if (i > 0) gradient = Backpropagate(parameters, i - 1, gradient);
  }
}

const at::Tensor& MlpPass::BackwardInput(const MlpParameters& parameters, const at::Tensor& output_gradient,
                                         int64_t first, int64_t count) {
  at::Tensor gradient = BackpropagateOutput(parameters, output_gradient);
  for (size_t i = parameters.layers.size() - 1; i > 0; --i) gradient = Backpropagate(parameters, i - 1, gradient);
  const int64_t rows = output_gradient.size(1);
  const at::Tensor weight = parameters.layers[0].weight.narrow(1, first, count);
  at::bmm_out(Reuse(member_input_gradients_, {parameters.spec.members, rows, count}, gradient), gradient,
              weight.transpose(1, 2));
  if (parameters.spec.members == 1) return input_gradient_ = member_input_gradients_.squeeze(0);
  return at::sum_out(Reuse(input_gradient_, {rows, count}, gradient), member_input_gradients_, 0);
}

}  // namespace headrace
