// The run service: who takes part, with which index, and what they report.
//
// A member is a stream (run.proto, Attend) and is gone with it. The first actor brings the environment's specification;
// members that bring another one are refused. Leases are given once the learner knows what it needs of actors (Open).
//
// Thread-safe. Reports are collected and handed to whoever takes them; nothing here calls the learner.
#ifndef HEADRACE_LEARNER_RUN_SERVICE_H_
#define HEADRACE_LEARNER_RUN_SERVICE_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "proto/config.pb.h"
#include "proto/run.grpc.pb.h"
#include "proto/run.pb.h"

namespace headrace {

class AttendStream;

class RunService final : public v1::Run::WithRawCallbackMethod_Attend<v1::Run::Service> {
 public:
  using Deadline = std::chrono::steady_clock::time_point;
  // What members have reported since the last Take.
  struct Reports {
    std::vector<v1::Episode> episodes;
    std::vector<v1::EvaluationResult> evaluations;
    std::vector<v1::Moments> moments;  // of observations
    std::vector<v1::Moments> return_moments;
  };
  // Whether an environment suits the run; its message goes to the member that brought it.
  using CheckEnvironment = std::function<absl::Status(const v1::EnvironmentSpec&)>;

  // `incarnation`: of the learner, another one at each start.
  RunService(std::string run_id, uint32_t incarnation, CheckEnvironment check_environment);

  // The environment that the first member brought. DeadlineExceeded: none has come.
  absl::StatusOr<v1::EnvironmentSpec> WaitForEnvironment(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // From now on leases are given: `lease` with index and generation, and random_steps(actors) for an actor that joins
  // now, of so many with it.
  void Open(v1::Lease lease, std::function<uint64_t(uint64_t actors)> random_steps) ABSL_LOCKS_EXCLUDED(mutex_);

  Reports TakeReports() ABSL_LOCKS_EXCLUDED(mutex_);
  // Asks an idle evaluator. False: there is none.
  bool Evaluate(const v1::Evaluate& order) ABSL_LOCKS_EXCLUDED(mutex_);
  // Evaluations that were ordered and have neither been answered nor lost their evaluator.
  bool Evaluating() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasEvaluator() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint32_t actors() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Tells everybody that the run is over, now and when they join; WaitUntilEmpty is false if some stay.
  void Stop(const std::string& reason) ABSL_LOCKS_EXCLUDED(mutex_);
  bool WaitUntilEmpty(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // What Status answers, but for the members.
  void SetStatus(const v1::RunStatus& status) ABSL_LOCKS_EXCLUDED(mutex_);

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Attend(grpc::CallbackServerContext* context) override;
  grpc::Status Status(grpc::ServerContext* context, const v1::StatusRequest* request, v1::RunStatus* response) override;

 private:
  friend class AttendStream;
  struct Member {
    v1::Join join;
    std::string address;
    std::weak_ptr<AttendStream> stream;
    std::optional<uint32_t> index;       // once leased
    std::optional<uint64_t> evaluating;  // the version it was asked to
  };

  // Called by streams, which are known by a number.
  absl::Status Join(uint64_t stream, const v1::Join& join, const std::string& address,
                    std::weak_ptr<AttendStream> member) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Report(uint64_t stream, v1::AttendRequest& report) ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave(uint64_t stream) ABSL_LOCKS_EXCLUDED(mutex_);

  uint32_t ActorsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GrantLease(Member& member) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t FreeIndex(const Member& member) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string run_id_;
  const uint32_t incarnation_;
  const CheckEnvironment check_environment_;
  std::atomic<uint64_t> next_stream_ = 1;

  mutable Mutex mutex_;
  ConditionVariable changed_;
  std::map<uint64_t, Member> members_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::EnvironmentSpec> environment_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::Lease> lease_ ABSL_GUARDED_BY(mutex_);
  std::function<uint64_t(uint64_t)> random_steps_ ABSL_GUARDED_BY(mutex_);
  Reports reports_ ABSL_GUARDED_BY(mutex_);
  size_t report_bytes_ ABSL_GUARDED_BY(mutex_) = 0;              // what they take of memory
  std::map<uint32_t, uint32_t> grants_ ABSL_GUARDED_BY(mutex_);  // how often each actor's index was leased
  std::string stop_reason_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  v1::RunStatus status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_RUN_SERVICE_H_
