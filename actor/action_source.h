// Where an actor's actions come from: a policy of its own, with the newest weights there are, or the learner's.
//
// Not thread-safe.
#ifndef HEADRACE_ACTOR_ACTION_SOURCE_H_
#define HEADRACE_ACTOR_ACTION_SOURCE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/actor_metrics.h"
#include "actor/parameter_subscriber.h"
#include "algorithm/algorithm.h"
#include "common/random.h"

namespace headrace {

class ActionSource {
 public:
  virtual ~ActionSource() = default;

  // An action for each lane and its next recurrent state, as Policy::Act gives them, and the version of the weights
  // that chose them; 0: random ones. Cancelled: the actor is to stop. What the learner refuses this process with.
  // Internal: weights that do not fit.
  virtual absl::StatusOr<uint64_t> Act(const at::Tensor& observations, ActMode mode, at::Tensor& recurrent_state,
                                       at::Tensor& actions, at::Tensor& log_probs) = 0;
  // Returns when the next Act will use weights at least this new. The same errors.
  virtual absl::Status WaitFor(uint64_t version) = 0;
};

// The policy runs in this process.
class LocalActionSource : public ActionSource {
 public:
  // The pointers must outlive this. `should_stop` is asked in every wait. Newer weights are taken at every Act or, with
  // `round_steps` above 0, at the first of so many.
  LocalActionSource(std::unique_ptr<Policy> policy, ParameterSubscriber* parameters, RandomStream exploration,
                    uint32_t round_steps, ActorMetrics* metrics, std::function<bool()> should_stop);

  absl::StatusOr<uint64_t> Act(const at::Tensor& observations, ActMode mode, at::Tensor& recurrent_state,
                               at::Tensor& actions, at::Tensor& log_probs) override;
  absl::Status WaitFor(uint64_t version) override;

 private:
  absl::Status UseNewestWeights();

  const std::unique_ptr<Policy> policy_;
  ParameterSubscriber* const parameters_;
  const uint32_t round_steps_;
  RandomStream exploration_;
  ActorMetrics* const metrics_;
  const std::function<bool()> should_stop_;
  uint64_t version_ = 0;  // of the weights that are loaded
  uint32_t acts_ = 0;     // in this round
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ACTION_SOURCE_H_
