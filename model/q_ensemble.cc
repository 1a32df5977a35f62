#include "model/q_ensemble.h"

#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"

namespace headrace {
namespace {

MlpSpec NetworkSpec(const QEnsembleSpec& spec) {
  return {.inputs = spec.observation + spec.action, .hidden = spec.hidden, .outputs = 1, .members = spec.members};
}

}  // namespace

QEnsemble::QEnsemble(const QEnsembleSpec& spec, at::Device device)
    : spec_(spec),
      parameters_(MlpParameters::Zeros(NetworkSpec(spec), device)),
      gradients_(MlpParameters::Zeros(NetworkSpec(spec), device)) {}

at::Tensor QEnsemble::Evaluate(const MlpParameters& parameters, const at::Tensor& s, const at::Tensor& a) {
  if (!input_.defined() || input_.size(0) != s.size(0)) {
    input_ = at::empty({s.size(0), spec_.observation + spec_.action}, s.options());
  }
  at::cat_out(input_, {s, a}, 1);
  return pass_.Forward(parameters, input_).squeeze(2);
}

const at::Tensor& QEnsemble::ParameterGradient(const at::Tensor& q_gradient) {
  pass_.BackwardParameters(parameters_, q_gradient.unsqueeze(2), gradients_);
  return gradients_.flat;
}

const at::Tensor& QEnsemble::ActionGradient(const at::Tensor& q_gradient) {
  return pass_.BackwardInput(parameters_, q_gradient.unsqueeze(2), spec_.observation, spec_.action);
}

}  // namespace headrace
