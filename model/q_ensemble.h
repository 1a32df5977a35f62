// State-action values Q_i(s, a) of an ensemble of networks: twin critics, and larger ensembles alike.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_Q_ENSEMBLE_H_
#define HEADRACE_MODEL_Q_ENSEMBLE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/mlp.h"

namespace headrace {

struct QEnsembleSpec {
  int64_t observation = 0;  // elements of s
  int64_t action = 0;       // elements of a
  std::vector<int64_t> hidden;
  int64_t members = 2;
};

class QEnsemble {
 public:
  QEnsemble(const QEnsembleSpec& spec, at::Device device);

  // s: [B, observation], a: [B, action]. Returns Q [members, B], valid until the next evaluation.
  at::Tensor Evaluate(const at::Tensor& s, const at::Tensor& a) { return Evaluate(parameters_, s, a); }
  // The same with other parameters of the same sizes, those of target networks: in the same memory, which then is warm.
  at::Tensor Evaluate(const MlpParameters& parameters, const at::Tensor& s, const at::Tensor& a);
  // Of the last evaluation, with parameters(), for a loss whose derivative by Q is q_gradient [members, B]: derivatives
  // by the parameters (a flat tensor like parameters().flat) and by a [B, action]; each computes nothing of the other.
  const at::Tensor& ParameterGradient(const at::Tensor& q_gradient);
  const at::Tensor& ActionGradient(const at::Tensor& q_gradient);

  MlpParameters& parameters() { return parameters_; }
  const MlpParameters& parameters() const { return parameters_; }

 private:
  const QEnsembleSpec spec_;
  MlpParameters parameters_;
  MlpParameters gradients_;
  at::Tensor input_;
  MlpPass pass_;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_Q_ENSEMBLE_H_
