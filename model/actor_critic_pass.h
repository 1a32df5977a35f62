// One evaluation of an ActorCriticNetwork and its derivative by the parameters, for a loss whose derivative by the
// network's outputs is known.
//
//   const std::unique_ptr<ActorCriticPass> pass = ActorCriticPass::Create(network);
//   const ActorCriticNetwork::Output output = pass->Forward(observations);
//   ...
//   sink.Apply(0, {pass->Backward({.policy = d_loss_by_policy, .log_std = {}, .value = d_loss_by_value})});
//
// Where the network is hidden layers and nothing else, its derivatives are those of MlpPass, written out; in any other
// autograd finds them. ActorCriticNetwork::Forward is what both are tested against.
//
// Either may be called in inference mode, where operations cost less; all calls of a pass then are.
//
// Not thread-safe.
#ifndef HEADRACE_MODEL_ACTOR_CRITIC_PASS_H_
#define HEADRACE_MODEL_ACTOR_CRITIC_PASS_H_

#include <memory>

#include "ATen/core/Tensor.h"
#include "model/actor_critic_network.h"

namespace headrace {

class ActorCriticPass {
 public:
  // `network` has a value, and outlives the pass.
  static std::unique_ptr<ActorCriticPass> Create(const ActorCriticNetwork& network);
  virtual ~ActorCriticPass() = default;

  // As that of the network; what it returns is not recorded by autograd and valid until the next call.
  virtual ActorCriticNetwork::Output Forward(const at::Tensor& observations, const at::Tensor& state = {},
                                             const at::Tensor& ends = {}) = 0;

  struct OutputGradient {
    at::Tensor policy;   // [B, actions]
    at::Tensor log_std;  // [actions] where continuous
    at::Tensor value;    // [B]
  };
  // The derivative by the parameters, shaped like parameters().flat() and valid until the next call. The parameters and
  // the observations must still be those of Forward.
  virtual at::Tensor Backward(const OutputGradient& gradient) = 0;
};

}  // namespace headrace

#endif  // HEADRACE_MODEL_ACTOR_CRITIC_PASS_H_
