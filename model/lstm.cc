#include "model/lstm.h"

#include "ATen/TensorOperators.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/mul.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/sigmoid_backward.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/tanh_backward.h"
#include "torch/csrc/autograd/custom_function.h"

namespace headrace {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Views of the four gates [B, 4 units] of a row.
struct Gates {
  explicit Gates(const at::Tensor& row)
      : units(row.size(1) / 4),
        i(row.narrow(1, 0, units)),
        f(row.narrow(1, units, units)),
        g(row.narrow(1, 2 * units, units)),
        o(row.narrow(1, 3 * units, units)) {}
  const int64_t units;
  at::Tensor i, f, g, o;
};

// What an unroll has computed, by rows first.
struct Unrolled {
  at::Tensor gates;   // [T, B, 4 units]: after their sigmoid or tanh
  at::Tensor states;  // [T + 1, B, 2 units]: h and c before each row, and after the last
  at::Tensor tanh_c;  // [T, B, units]
  at::Tensor hidden;  // [T, B, units]
};

// inputs: [T, B, 4 units], W_input x + b. goes_on: [T, B, 1], 0 where a row is an episode's last; or undefined.
Unrolled Unroll(const at::Tensor& inputs, const at::Tensor& recurrent, const at::Tensor& state,
                const at::Tensor& goes_on) {
  const int64_t rows = inputs.size(0), lanes = inputs.size(1), units = recurrent.size(1);
  Unrolled unrolled = {.gates = inputs.clone(at::MemoryFormat::Contiguous),
                       .states = at::empty({rows + 1, lanes, 2 * units}, inputs.options()),
                       .tanh_c = at::empty({rows, lanes, units}, inputs.options()),
                       .hidden = at::empty({rows, lanes, units}, inputs.options())};
  const at::Tensor weight = recurrent.t();
  at::Tensor before = unrolled.states[0];
  before.copy_(state);
  for (int64_t t = 0; t < rows; ++t) {
    at::Tensor row = unrolled.gates[t];
    row.addmm_(before.narrow(1, 0, units), weight);
    Gates gates(row);
    row.narrow(1, 0, 2 * units).sigmoid_();  // i and f
    gates.g.tanh_();
    gates.o.sigmoid_();
    at::Tensor after = unrolled.states[t + 1], tanh_c = unrolled.tanh_c[t], hidden = unrolled.hidden[t];
    at::Tensor c = after.narrow(1, units, units);
    at::mul_out(c, gates.f, before.narrow(1, units, units)).addcmul_(gates.i, gates.g);
    at::mul_out(hidden, gates.o, at::tanh_out(tanh_c, c));
    after.narrow(1, 0, units).copy_(hidden);
    if (goes_on.defined()) after.mul_(goes_on[t]);
    before = after;
  }
  return unrolled;
}

// Its derivatives are written out: autograd would record a dozen operations for each row, and add up the derivative of
// W_recurrent row by row, which is one product of all rows.
class UnrollFunction : public torch::autograd::Function<UnrollFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& inputs, const at::Tensor& recurrent,
                               const at::Tensor& state, const at::Tensor& goes_on) {
    const Unrolled unrolled = Unroll(inputs, recurrent, state, goes_on);
    context->save_for_backward({unrolled.gates, unrolled.states, unrolled.tanh_c, recurrent, goes_on});
    return {unrolled.hidden, unrolled.states[inputs.size(0)].clone()};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &gates = saved[0], &states = saved[1], &all_tanh_c = saved[2], &recurrent = saved[3],
                     &goes_on = saved[4];
    const int64_t rows = gates.size(0), units = recurrent.size(1);
    at::Tensor d_gates = at::empty_like(gates);
    at::Tensor d_state = gradients[1].clone(at::MemoryFormat::Contiguous);
    at::Tensor d_h = d_state.narrow(1, 0, units), d_c = d_state.narrow(1, units, units);
    for (int64_t t = rows - 1; t >= 0; --t) {
      const Gates gate(gates[t]);
      Gates d_gate(d_gates[t]);
      const at::Tensor tanh_c = all_tanh_c[t], c_before = states[t].narrow(1, units, units);
      d_state.mul_(goes_on[t]);
      d_h.add_(gradients[0][t]);
      at::sigmoid_backward_out(d_gate.o, d_h * tanh_c, gate.o);
      d_c.add_(at::tanh_backward(d_h * gate.o, tanh_c));
      at::sigmoid_backward_out(d_gate.i, d_c * gate.g, gate.i);
      at::sigmoid_backward_out(d_gate.f, d_c * c_before, gate.f);
      at::tanh_backward_out(d_gate.g, d_c * gate.i, gate.g);
      d_c.mul_(gate.f);
      d_h.copy_(at::mm(d_gates[t], recurrent));
    }
    const at::Tensor h_before = states.narrow(0, 0, rows).narrow(2, 0, units).flatten(0, 1);
    return {d_gates, at::mm(d_gates.flatten(0, 1).t(), h_before), d_state, at::Tensor()};
  }
};

}  // namespace

std::vector<ParameterShape> LstmParameters(int64_t inputs, int64_t units) {
  return {{"input/weight", {4 * units, inputs}}, {"recurrent/weight", {4 * units, units}}, {"bias", {4 * units}}};
}

LstmOutput Lstm(std::span<const at::Tensor> parameters, const at::Tensor& x, const at::Tensor& state,
                const at::Tensor& ends) {
  // What does not depend on the rows before is one product for all rows.
  const at::Tensor inputs = at::linear(x, parameters[0], parameters[2]).transpose(0, 1);
  at::Tensor goes_on = ends.defined() ? (1 - ends).t().unsqueeze(2) : at::Tensor();
  if (!at::GradMode::is_enabled()) {
    const Unrolled unrolled = Unroll(inputs, parameters[1], state, goes_on);
    return {unrolled.hidden.transpose(0, 1), unrolled.states[x.size(1)]};
  }
  if (!goes_on.defined()) goes_on = at::ones({x.size(1), 1, 1}, x.options());  // a function must have its arguments
  const variable_list outputs = UnrollFunction::apply(inputs, parameters[1], state, goes_on);
  return {outputs[0].transpose(0, 1), outputs[1]};
}

}  // namespace headrace
