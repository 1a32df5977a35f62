// Long short-term memory: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, with the forget gate of Gers et
// al., 2000. Equations and the order of the gates are those of PyTorch's nn.LSTM, with its two biases as one:
//
//   i, f, g, o = W_input x_t + W_recurrent h_{t-1} + b
//   c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
//   h_t = sigmoid(o) tanh(c_t)
//
// Pure functions of parameters that somebody else owns.
#ifndef HEADRACE_MODEL_LSTM_H_
#define HEADRACE_MODEL_LSTM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/flat_parameters.h"

namespace headrace {

// W_input [4 units, inputs], W_recurrent [4 units, units], b [4 units].
std::vector<ParameterShape> LstmParameters(int64_t inputs, int64_t units);

struct LstmOutput {
  at::Tensor hidden;  // [B, T, units]: h_t of every row
  at::Tensor state;   // [B, 2 units]: h and c for the row after the last one
};

// x: [B, T, inputs]. state: [B, 2 units], h and c for the first row. ends: [B, T], 1 where a row is an episode's last,
// after which the state is zero; undefined: none is.
LstmOutput Lstm(std::span<const at::Tensor> parameters, const at::Tensor& x, const at::Tensor& state,
                const at::Tensor& ends);

}  // namespace headrace

#endif  // HEADRACE_MODEL_LSTM_H_
