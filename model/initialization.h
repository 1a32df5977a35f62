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

// Weights from U(-b, b), b = sqrt(6 / (inputs + outputs of the layer)), biases zero: Glorot and Bengio, 2010. SAC's
// first version, REDQ, DroQ.
void InitializeXavierUniform(MlpParameters& parameters, RandomStream& random);

// Orthogonal weights scaled by `hidden_gain` and, in the last layer, `output_gain`; biases zero: Saxe et al., 2014. PPO
// and A2C with sqrt(2) and 0.01 (policy) or 1 (value), DrQ with 1 and 1.
void InitializeOrthogonal(MlpParameters& parameters, RandomStream& random, double hidden_gain, double output_gain);

// The same for one weight [outputs, inputs...], whose inputs are taken as one dimension.
void FillOrthogonal(at::Tensor& weight, double gain, RandomStream& random);

}  // namespace headrace

#endif  // HEADRACE_MODEL_INITIALIZATION_H_
