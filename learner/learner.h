// The learner: draws batches, updates, publishes weights, orders evaluations, writes checkpoints, and ends the run.
//
// Everything happens on one thread but for what gRPC's threads do in the services and the sampler, and the writing of
// checkpoints, which has a thread of its own.
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
#include "algorithm/local_optimizer.h"
#include "common/run_directory.h"
#include "learner/batch_slots.h"
#include "learner/checkpoint.h"
#include "learner/checkpoint_writer.h"
#include "learner/learner_metrics.h"
#include "learner/parameter_service.h"
#include "learner/progress_log.h"
#include "learner/run_service.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "replay/sampler.h"

namespace headrace {

struct LearnerOptions {
  v1::RunConfig config;
  v1::LearnerIdentity identity;
  std::string run_path;
  std::vector<std::string> replay_addresses;
  std::string init_from;  // a run directory whose networks this run starts with; empty: none
  std::optional<LoadedCheckpoint> resume_from;
};

class Learner {
 public:
  // The services and the run directory must outlive the learner.
  Learner(LearnerOptions options, RunDirectory* run, RunService* members, ParameterService* parameters,
          LearnerMetrics* metrics);
  ~Learner();

  // Waits for the first actor, then trains until the run ends (OK) or a signal asks it to stop (Cancelled, after a
  // checkpoint). InvalidArgument: configuration, environment, algorithm and checkpoint do not fit each other.
  absl::Status Run();

  // The run has ended already, as its checkpoint says; why. Empty: it has not.
  std::string EndReached() const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  // An evaluation on its way: what the evaluated weights were.
  struct Ordered {
    v1::Evaluate order;
    RunPosition position;
    std::string policy;  // its weights, in case they are the best
  };

  absl::StatusOr<v1::EnvironmentSpec> WaitForEnvironment();
  absl::Status SetUp();
  absl::Status RestoreTensors();
  absl::Status StartSampler(const Experience& experience);
  v1::TableSpec MakeTable(const Experience& experience) const;

  absl::Status UpdateOnce(const ReplaySampler::Filled& filled);
  // What is done now and then between updates: reports, evaluations, progress, checkpoints.
  absl::Status KeepHouse();
  absl::Status Publish();
  absl::Status TakeReports();
  absl::Status OrderEvaluation();
  absl::Status TakeEvaluation(const v1::EvaluationResult& result);
  void SetStatus(const std::string& waiting_for);
  absl::Status WriteProgress();
  absl::Status StartCheckpoint();
  void CountCheckpoint(const absl::Status& written);
  absl::Status EvaluateFinally();
  absl::Status Finish(const std::string& reason);

  RunPosition Position() const;
  double WallSeconds() const;
  uint64_t PackedVersion() const;

  const LearnerOptions options_;
  RunDirectory* const run_;
  RunService* const members_;
  ParameterService* const parameters_;
  LearnerMetrics* const metrics_;
  const Time start_;

  Experience experience_;
  std::optional<size_t> version_slice_;  // which slice of a batch holds policy versions
  v1::EnvironmentSpec environment_;
  int observation_elements_ = 0;
  std::unique_ptr<Algorithm> algorithm_;
  std::unique_ptr<LocalOptimizer> optimizer_;
  std::unique_ptr<BatchSlots> slots_;
  std::unique_ptr<ReplaySampler> sampler_;
  std::unique_ptr<ProgressLog> progress_;
  std::unique_ptr<CheckpointWriter> checkpoints_;

  v1::Counters counters_;
  v1::Moments moments_;
  uint64_t published_version_ = 0;
  Time last_publish_{};
  Time last_housekeeping_{};
  Time last_progress_{};
  Time last_checkpoint_;
  Time waiting_since_;
  std::optional<Ordered> evaluation_;
  uint64_t evaluated_version_ = 0;  // of the newest evaluation
  int failed_evaluations_ = 0;      // in a row
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_LEARNER_H_
