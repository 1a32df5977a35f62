// The learner: updates, publishes weights, orders evaluations, writes checkpoints, and ends the run.
//
// Everything happens on one thread but for what gRPC's threads do in the services and the sampler, and the writing of
// checkpoints and of the best weights, which have threads of their own.
#ifndef HEADRACE_LEARNER_LEARNER_H_
#define HEADRACE_LEARNER_LEARNER_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "common/checkpoint.h"
#include "common/occasionally.h"
#include "common/run_directory.h"
#include "learner/checkpoint_schedule.h"
#include "learner/checkpoint_writer.h"
#include "learner/evaluations.h"
#include "learner/gradient_service.h"
#include "learner/inference_service.h"
#include "learner/inference_tuning.h"
#include "learner/learned_state.h"
#include "learner/learner_metrics.h"
#include "learner/parameter_service.h"
#include "learner/progress_log.h"
#include "learner/run_service.h"
#include "learner/thread_tuner.h"
#include "learner/update_source.h"
#include "learner/waiting_time.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace headrace {

struct LearnerOptions {
  v1::RunConfig config;
  v1::LearnerIdentity identity;
  std::vector<std::string> replay_addresses;
  // At most one of the two is used, the first before the second.
  std::optional<LoadedCheckpoint> resume_from;
  std::optional<LoadedCheckpoint> init_from;  // another run's, whose networks this run starts with
};

class Learner {
 public:
  // The services and the run directory must outlive the learner. inference: null where actors have policies of their
  // own. gradients: null where the learner computes them.
  Learner(LearnerOptions options, RunDirectory* run, RunService* members, ParameterService* parameters,
          InferenceService* inference, GradientService* gradients, LearnerMetrics* metrics);
  ~Learner();

  // Waits for the first actor, then trains until the run ends (OK) or a signal asks it to stop (Cancelled, after a
  // checkpoint). InvalidArgument: configuration, environment, algorithm and checkpoint do not fit each other.
  absl::Status Run();

  // The run has ended in an earlier start, and by this configuration is not to go on; why. Empty: it is to.
  std::string EndedBefore() const;

 private:
  using Time = std::chrono::steady_clock::time_point;

  absl::StatusOr<v1::EnvironmentSpec> WaitForEnvironment();
  absl::Status SetUp();
  absl::Status OpenInference();
  absl::Status StartUpdates();
  v1::Lease MakeLease() const;

  absl::Status Train();
  void CountUpdate();
  void CountSteps(uint64_t env_steps);
  void TellPosition();
  // In synchronous rounds: what a shard had of the round when it was lost comes no more, while those who handed it in
  // wait for new weights. They are given the same ones under a new version, and with it begin another round.
  absl::Status BeginAnotherRound();
  absl::Status UpdateOnce(const UpdateSource::Arrival& arrival);
  absl::Status Publish();
  // What is done now and then between updates: reports, evaluations, progress, checkpoints.
  absl::Status KeepHouse();
  void TakeReports();
  absl::Status OrderEvaluation();
  void SetStatus(const std::string& waiting_for);
  double SubscriberLag() const;
  void WriteProgress();
  absl::Status StartCheckpoint(std::chrono::milliseconds patience, bool last = false);

  // RunEnd. Before the set-up it is not known which updates the last steps allow.
  std::string EndReached() const;
  absl::Status EvaluateFinally();
  // With a reason the run is over; otherwise it is only interrupted.
  absl::Status Finish(const std::string& reason);

  RunPosition Position() const;
  double WallSeconds() const;
  uint64_t PackedVersion() const;
  UpdateSource::Moment Moment() const;
  // The share of its environment steps that the run has done; 0 in one without an end.
  double Progress() const;

  const v1::RunConfig config_;
  const v1::LearnerIdentity identity_;
  const std::vector<std::string> replay_addresses_;
  std::optional<LoadedCheckpoint> resume_from_;  // until the set-up
  std::optional<LoadedCheckpoint> init_from_;
  RunDirectory* const run_;
  RunService* const members_;
  ParameterService* const parameters_;
  InferenceService* const inference_;
  GradientService* const gradients_;
  LearnerMetrics* const metrics_;
  const Time start_;

  Experience experience_;
  v1::EnvironmentSpec environment_;
  v1::Counters counters_;
  std::unique_ptr<LearnedState> learned_;
  std::unique_ptr<UpdateSource> updates_;
  std::unique_ptr<ProgressLog> progress_;
  std::unique_ptr<Evaluations> evaluations_;
  std::unique_ptr<CheckpointWriter> checkpoints_;
  std::optional<CheckpointSchedule> checkpoint_schedule_;  // from the set-up on
  ThreadTuner threads_;
  std::unique_ptr<InferenceTuning> tuning_;  // null: the run is not tuned so
  WaitingTime waiting_;
  Occasionally interruptions_;

  bool updated_ = false;  // in this start of the run: there are losses to tell of
  uint64_t published_version_ = 0;
  Time last_publish_{};
  Time last_housekeeping_{};
  Time last_progress_{};
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_LEARNER_H_
