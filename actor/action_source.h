// Where an actor's actions come from: a policy of its own, with the newest weights there are, or the learner's.
//
// Not thread-safe.
#ifndef HEADRACE_ACTOR_ACTION_SOURCE_H_
#define HEADRACE_ACTOR_ACTION_SOURCE_H_

#include <chrono>
#include <cstdint>
#include <deque>
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
  using Deadline = std::chrono::steady_clock::time_point;

  virtual ~ActionSource() = default;

  // An action for each lane and its next recurrent state, as Policy::Act gives them, and the version of the weights
  // that chose them; 0: random ones. Cancelled: the actor is to stop. What the learner refuses this process with.
  // Internal: weights that do not fit.
  virtual absl::StatusOr<uint64_t> Act(const at::Tensor& observations, ActMode mode, at::Tensor& recurrent_state,
                                       at::Tensor& actions, at::Tensor& log_probs) = 0;
  // Returns when the next Act will use weights at least this new. DeadlineExceeded: they have not come. The same
  // errors.
  virtual absl::Status WaitFor(uint64_t version, Deadline deadline) = 0;
  // Of the last Act: seconds that are accounted for. No action was wanted of this actor, or they were counted while it
  // waited.
  virtual double TakeAccountedSeconds() { return 0; }
};

// The policy runs in this process.
class LocalActionSource : public ActionSource {
 public:
  struct Options {
    uint32_t round_steps = 0;    // newer weights are taken at the first Act of so many; 0: at every one
    uint32_t delay_updates = 0;  // between the newest weights and those that act
  };
  // The pointers must outlive this. `should_stop` is asked in every wait.
  LocalActionSource(std::unique_ptr<Policy> policy, ParameterSubscriber* parameters, RandomStream exploration,
                    const Options& options, ActorMetrics* metrics, std::function<bool()> should_stop);

  absl::StatusOr<uint64_t> Act(const at::Tensor& observations, ActMode mode, at::Tensor& recurrent_state,
                               at::Tensor& actions, at::Tensor& log_probs) override;
  absl::Status WaitFor(uint64_t version, Deadline deadline) override;

 private:
  absl::Status WaitForTheFirst();
  absl::Status UseNewestWeights();
  // The newest of those received that are old enough, or the oldest; null: none was received.
  std::shared_ptr<const Weights> Delayed();

  const std::unique_ptr<Policy> policy_;
  ParameterSubscriber* const parameters_;
  const Options options_;
  RandomStream exploration_;
  ActorMetrics* const metrics_;
  const std::function<bool()> should_stop_;
  uint64_t version_ = 0;                                 // of the weights that are loaded
  std::deque<std::shared_ptr<const Weights>> received_;  // with a delay: oldest first, from those that are in use on
  uint32_t acts_ = 0;                                    // in this round
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ACTION_SOURCE_H_
