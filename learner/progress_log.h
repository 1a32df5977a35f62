// The learning curve as it grows: a row of progress.csv and of the TensorBoard file in each log interval.
//
// Tags are those that Stable-Baselines3 and CleanRL use, so that curves of both lie on top of each other.
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_PROGRESS_LOG_H_
#define HEADRACE_LEARNER_PROGRESS_LOG_H_

#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/event_file.h"
#include "common/run_directory.h"
#include "google/protobuf/repeated_field.h"
#include "proto/run.pb.h"
#include "replay/sampler.h"

namespace headrace {

class ProgressLog {
 public:
  using Scalars = std::vector<std::pair<std::string, double>>;

  // `run` must outlive the log; `start` is where this start of the run begins, `recent` what its training return is the
  // mean of so far. What earlier starts have told of later than `told_steps` is forgotten in tb/, too.
  static absl::StatusOr<std::unique_ptr<ProgressLog>> Open(
      RunDirectory* run, uint64_t told_steps, const RunPosition& start,
      const google::protobuf::RepeatedPtrField<v1::Episode>& recent = {});

  void AddEpisode(const v1::Episode& episode);
  void AddWait(double seconds) { wait_seconds_ += seconds; }
  // The policy lag of the newest batch that was looked at, in updates; NaN: not known of any of its steps.
  void SetPolicyLag(double policy_lag) { policy_lag_ = policy_lag; }
  // Mean return of the last hundred finished episodes; NaN: there is none.
  double RecentReturn() const;
  // Standard deviation of the same returns; NaN: there is none.
  double RecentReturnDeviation() const;
  // Returns and lengths of those that it is the mean of, oldest first: `recent` of the next start.
  google::protobuf::RepeatedPtrField<v1::Episode> RecentEpisodes() const;

  // Whether nothing has happened since the newest row.
  bool UpToDate(const RunPosition& position) const {
    return position.env_steps == last_.env_steps && position.updates == last_.updates;
  }
  absl::Status Write(const RunPosition& position, const ReplaySampler::Stats& replay, const Scalars& losses);
  absl::Status WriteEvaluation(const RunPosition& position, const EvaluationRow& row);

 private:
  ProgressLog(RunDirectory* run, std::unique_ptr<EventFile> events, const RunPosition& start)
      : run_(run), events_(std::move(events)), last_(start) {}

  RunDirectory* const run_;
  const std::unique_ptr<EventFile> events_;
  RunPosition last_;         // of the newest row
  double wait_seconds_ = 0;  // for batches, since then
  double policy_lag_ = std::numeric_limits<double>::quiet_NaN();
  std::deque<v1::Episode> recent_;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_PROGRESS_LOG_H_
