#include "model/lstm.h"

#include "ATen/TensorOperators.h"
#include "ATen/ops/addmm.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/stack.h"

namespace headrace {

std::vector<ParameterShape> LstmParameters(int64_t inputs, int64_t units) {
  return {{"input/weight", {4 * units, inputs}}, {"recurrent/weight", {4 * units, units}}, {"bias", {4 * units}}};
}

LstmOutput Lstm(std::span<const at::Tensor> parameters, const at::Tensor& x, const at::Tensor& state,
                const at::Tensor& ends) {
  // What does not depend on the rows before is one product for all rows.
  const std::vector<at::Tensor> inputs = at::linear(x, parameters[0], parameters[2]).unbind(1);
  const at::Tensor recurrent = parameters[1].t();
  std::vector<at::Tensor> goes_on;
  if (ends.defined()) goes_on = (1 - ends).unsqueeze(2).unbind(1);
  const std::vector<at::Tensor> before = state.chunk(2, 1);
  at::Tensor h = before[0], c = before[1];
  std::vector<at::Tensor> hidden;
  for (size_t t = 0; t < inputs.size(); ++t) {
    const std::vector<at::Tensor> gates = at::addmm(inputs[t], h, recurrent).chunk(4, 1);
    c = gates[1].sigmoid() * c + gates[0].sigmoid() * gates[2].tanh();
    h = gates[3].sigmoid() * c.tanh();
    hidden.push_back(h);
    if (!ends.defined()) continue;
    h = h * goes_on[t];
    c = c * goes_on[t];
  }
  return {at::stack(hidden, 1), at::cat({h, c}, 1)};
}

}  // namespace headrace
