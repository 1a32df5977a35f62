// Acts with the policy of an ActorCriticNetwork: a ~ pi(.|o), or the likeliest action; reports log pi(a|o).
//
// Not thread-safe.
#ifndef HEADRACE_ALGORITHM_ACTOR_CRITIC_ACTOR_H_
#define HEADRACE_ALGORITHM_ACTOR_CRITIC_ACTOR_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "algorithm/actor_critic_model.h"
#include "algorithm/algorithm.h"

namespace headrace {

class ActorCriticActor : public Policy {
 public:
  // InvalidArgument: the network does not take such observations.
  static absl::StatusOr<std::unique_ptr<Policy>> Create(const ActorCriticSpec& spec, bool normalize_observations);

  void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
           at::Tensor& actions, at::Tensor& log_probs) override;
  std::vector<NamedTensor> Tensors() const override;

 private:
  explicit ActorCriticActor(std::unique_ptr<ActorCriticModel> model) : model_(std::move(model)) {}

  const std::unique_ptr<ActorCriticModel> model_;
  std::vector<float> noise_;
};

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_ACTOR_CRITIC_ACTOR_H_
