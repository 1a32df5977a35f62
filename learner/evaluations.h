// The run's evaluations: which are due, what the evaluator is asked, what came of it, and which weights were the best.
//
//   if (evaluations->due(position)) evaluations->Order(position, version);    // published just before
//   evaluations->Take(reports.evaluations, members->Evaluating());                      // now and then
//
// Its part of the counters goes into checkpoints, so that a resumed run neither repeats an evaluation nor leaves one
// out.
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_EVALUATIONS_H_
#define HEADRACE_LEARNER_EVALUATIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/run_directory.h"
#include "grpcpp/support/slice.h"
#include "learner/best_writer.h"
#include "learner/learner_metrics.h"
#include "learner/parameter_service.h"
#include "learner/progress_log.h"
#include "learner/run_service.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace headrace {

class Evaluations {
 public:
  // What all of these point to must outlive this. `checkpoints`: where the best weights are kept.
  struct Surroundings {
    RunService* members;
    ParameterService* parameters;
    ProgressLog* progress;
    LearnerMetrics* metrics;
    v1::Counters* counters;
    std::string run_id;
    std::string checkpoints;
  };

  Evaluations(const v1::RunConfig& config, Surroundings surroundings);

  // An evaluation of these weights is wanted, and none is under way.
  bool due(const RunPosition& position) const;
  bool under_way() const { return ordered_.has_value(); }
  // Asks an idle evaluator for the newest version that was published, with which the run was there; without one nothing
  // happens, and what is due stays due.
  void Order(const RunPosition& position, uint64_t version);
  // `evaluating`: what RunService::Evaluating said before the results were taken, so that a result which came in
  // between is not mistaken for one that will not come.
  void Take(const std::vector<v1::EvaluationResult>& results, bool evaluating);

  // Of the newest evaluation that was done; 0: there is none in this start of the run.
  uint64_t evaluated_version() const { return evaluated_version_; }
  // In a row.
  int failures() const { return failures_; }

  // The counters tell of a best evaluation whose weights are not on disk yet.
  bool keeping_best() const { return best_.writing(); }
  // Waits until they are.
  void FinishKeeping();

 private:
  // The weights that are evaluated.
  struct Subject {
    RunPosition position;
    uint64_t version = 0;  // packed
    grpc::Slice policy;    // as published, in case they are the best
  };

  void TakeOne(const v1::EvaluationResult& result);
  void KeepIfBest(const Subject& subject, double mean_return);
  void TellKept(const absl::Status& written);
  void RecallBest();

  const v1::EvaluationConfig config_;
  const v1::StopConfig stop_;
  const uint64_t seed_;
  const Surroundings around_;

  BestWriter best_;
  std::optional<Subject> ordered_;
  uint64_t evaluated_version_ = 0;
  uint64_t evaluated_updates_ = 0;  // that version's
  int failures_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_EVALUATIONS_H_
