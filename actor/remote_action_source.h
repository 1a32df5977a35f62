// Actions from the learner's policy (proto/inference.proto): the actor holds no network. What was asked on a stream
// that was lost is asked again on the next one.
//
// An actor that the learner holds back waits, whatever its fallback; the learner says so once (common/act_wire.h).
//
// Random actions are drawn here. Where the configuration names a fallback, a step whose answer comes late is taken with
// it. Such a step has policy version 0, as a random one, since no weights chose it, and log-probability 0: what is done
// for certain, whatever the observation, has probability 1, so that importance weights are pi(a|o): of discrete actions
// never above 1, of continuous ones a density, which rho_bar bounds.
//
// The recurrent state of lanes travels with each request and comes back with its answer: it has to come here anyway to
// be recorded, and so survives the learner, and a lost answer changes nothing. Random and fallback steps leave it as it
// is.
//
// Not thread-safe, but for what gRPC's threads do in it.
#ifndef HEADRACE_ACTOR_REMOTE_ACTION_SOURCE_H_
#define HEADRACE_ACTOR_REMOTE_ACTION_SOURCE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/action_source.h"
#include "actor/actor_metrics.h"
#include "actor/request_stream.h"
#include "common/random.h"
#include "proto/config.pb.h"
#include "proto/inference.pb.h"

namespace headrace {

class RemoteActionSource : public ActionSource {
 public:
  struct Options {
    std::string address;            // of the learner
    v1::ActOpen open;               // who asks, with observations of which type and shape, for how many lanes
    uint32_t discrete_actions = 0;  // 0: continuous ones, from -1 to 1
    v1::InferenceConfig inference;
  };
  // `metrics` must outlive this. `should_stop` is asked in every wait.
  RemoteActionSource(Options options, RandomStream exploration, ActorMetrics* metrics,
                     std::function<bool()> should_stop);

  // `actions` has the shape and type that environments want. Internal also: the learner's actions do not fit it.
  absl::StatusOr<uint64_t> Act(const at::Tensor& observations, ActMode mode, at::Tensor& recurrent_state,
                               at::Tensor& actions, at::Tensor& log_probs) override;
  absl::Status WaitFor(uint64_t version, Deadline deadline) override;
  double TakeAccountedSeconds() override { return std::exchange(accounted_seconds_, 0); }

 private:
  using Clock = RequestStream<v1::ActResponse>::Clock;

  void DrawRandom(at::Tensor& actions, at::Tensor& log_probs);
  void FallBack(at::Tensor& actions, at::Tensor& log_probs);
  // Of the newest request. Null: none came in time. Time without one is counted while it passes, unless this actor is
  // held back.
  absl::StatusOr<std::optional<v1::ActResponse>> Answer(Clock::time_point deadline, bool held_back);
  // DeadlineExceeded: it came late, and this actor was not held back.
  absl::StatusOr<v1::ActResponse> Ask(const at::Tensor& observations, const at::Tensor& recurrent_state,
                                      Clock::time_point deadline);

  const Options options_;
  RandomStream exploration_;
  ActorMetrics* const metrics_;
  double accounted_seconds_ = 0;

  RequestStream<v1::ActResponse> requests_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_REMOTE_ACTION_SOURCE_H_
