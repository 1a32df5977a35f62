// The acting loop: steps the lanes of one process with the newest policy and hands on what happens.
//
// Everything happens on the caller's thread but for what gRPC's threads do in the connections.
#ifndef HEADRACE_ACTOR_ACTING_H_
#define HEADRACE_ACTOR_ACTING_H_

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/action_source.h"
#include "actor/actor_metrics.h"
#include "actor/attendance.h"
#include "actor/env/vector_environment.h"
#include "actor/row_recorder.h"
#include "algorithm/algorithm.h"
#include "common/occasionally.h"
#include "common/random.h"
#include "model/moments_accumulator.h"
#include "proto/config.pb.h"
#include "proto/run.pb.h"
#include "replay/moving_writer.h"
#include "replay/row_writer.h"

namespace headrace {

struct ActingOptions {
  v1::RunConfig config;
  v1::Lease lease;
  Experience experience;
  // Of a process that is told to end, for the shard to take what is not handed in yet: that may wait for updates, which
  // go on. Less than whoever kills it in the end gives it (tools/headrace_cli/supervisor.py).
  std::chrono::seconds drain_patience{10};
};

// Of all random streams of the actor that holds this lease.
uint64_t SeedOf(const v1::RunConfig& config, const v1::Lease& lease);

// With which the actor that holds this lease explores.
RandomStream ExplorationStream(const v1::RunConfig& config, const v1::Lease& lease);

// The lanes of the actor that holds this lease: their numbers follow from its index.
VectorEnvironment::Options LaneOptions(const v1::RunConfig& config, const v1::Lease& lease);

// To one of the shards, by the lease's index. InvalidArgument: a signature that is not usable.
absl::StatusOr<std::unique_ptr<MovingWriter>> StartReplayWriter(const ActingOptions& options,
                                                                std::vector<std::string> addresses);

class Acting {
 public:
  // `lanes` have the options above. `should_stop` is asked at every step and in every wait. The other pointers must
  // outlive this. InvalidArgument: environment, signature and configuration do not fit each other.
  static absl::StatusOr<std::unique_ptr<Acting>> Create(ActingOptions options, std::unique_ptr<VectorEnvironment> lanes,
                                                        ActionSource* action_source, RowWriter* writer,
                                                        Attendance* attendance, ActorMetrics* metrics,
                                                        std::function<bool()> should_stop);

  // Until should_stop. Internal: the environment, the policy or the shard is of no further use, and why. What the
  // learner refuses this process with.
  absl::Status Run();

 private:
  using Time = std::chrono::steady_clock::time_point;

  Acting(ActingOptions options, std::unique_ptr<VectorEnvironment> lanes, ActionSource* action_source,
         RowWriter* writer, Attendance* attendance, ActorMetrics* metrics, std::function<bool()> should_stop);

  absl::Status StepUntilStopped();
  absl::Status StepOnce();
  absl::Status CheckFailures();
  void RecordLane(int lane);
  void AddMoments(int lane);
  void AppendFinal(int lane, const std::byte* observation, v1::EpisodeEnd end);
  void EndEpisode(int lane, v1::EpisodeEnd end);
  // Cuts off what all lanes have experienced since the last round, hands it in, and waits for a newer policy.
  absl::Status EndRound();
  absl::Status Send();
  // To another shard, if this one has been away for long.
  void MoveIfNeeded();
  absl::Status HandInAll();
  // Until the next action can be chosen with weights at least this new.
  absl::Status WaitForPolicy(uint64_t version);
  void Report(bool now);
  void CountTimes();
  double LearningSeconds() const;

  const ActingOptions options_;
  const std::unique_ptr<VectorEnvironment> lanes_;
  ActionSource* const action_source_;
  RowWriter* const writer_;
  Attendance* const attendance_;
  ActorMetrics* const metrics_;
  const std::function<bool()> should_stop_;
  const bool drop_episodes_;

  std::unique_ptr<RowRecorder> recorder_;
  std::unique_ptr<MomentsAccumulator> moments_;         // of observations; null: not asked for
  std::unique_ptr<MomentsAccumulator> return_moments_;  // of discounted sums of rewards; null: not asked for

  at::Tensor observations_;     // o_t of every lane
  at::Tensor state_before_;     // recurrent state of every lane before o_t; undefined: none is recorded
  at::Tensor recurrent_state_;  // the same before o_{t+1}
  at::Tensor actions_;
  at::Tensor log_probs_;
  at::Tensor final_observation_;  // of one lane
  std::vector<bool> in_episode_;  // the lane has rows of its episode in replay
  std::vector<bool> dropping_;    // the rest of the lane's episode is not recorded
  std::vector<int> failures_;     // steps in a row at which the lane's environment failed
  std::vector<double> rewards_;   // of the lane's episode so far, discounted, where moments of it are asked for
  uint32_t round_steps_ = 0;      // since the last round
  uint64_t random_steps_left_;
  uint64_t acting_version_ = 0;  // of the policy that chose the current actions; 0: random

  // Where the time went since it was last counted: written to at every step, while a metric is shared with the thread
  // that serves it.
  struct Times {
    double policy = 0;
    double step = 0;
    double record = 0;
  } times_;
  Time stepped_{};   // the end of the last step of the environments
  double held_ = 0;  // seconds since then that stepping stood still

  v1::AttendRequest report_;
  Time last_report_{};
  Occasionally interruptions_;
  std::deque<double> recent_returns_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ACTING_H_
