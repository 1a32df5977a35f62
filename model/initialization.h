// First values of a network's parameters. The families differ in what they were published with; a score is only
// comparable with the same one. Numbers are drawn on the host, so that a seed gives the same network on every device.
#ifndef HEADRACE_MODEL_INITIALIZATION_H_
#define HEADRACE_MODEL_INITIALIZATION_H_

#include "common/random.h"
#include "model/mlp.h"

namespace headrace {

// Weights and biases from U(-b, b), b = 1 / sqrt(inputs of the layer): LibTorch's own default, which TD3, CleanRL and
// Stable-Baselines3's SAC use.
void InitializeFanInUniform(MlpParameters& parameters, RandomStream& random);

// The same for one layer's weight [outputs, inputs...] and bias [outputs].
void FillFanInUniform(const at::Tensor& weight, const at::Tensor& bias, RandomStream& random);

// An orthogonal weight [outputs, inputs...], whose inputs are taken as one dimension, scaled by `gain`: Saxe et al.,
// 2014.
void FillOrthogonal(at::Tensor& weight, double gain, RandomStream& random);

}  // namespace headrace

#endif  // HEADRACE_MODEL_INITIALIZATION_H_
