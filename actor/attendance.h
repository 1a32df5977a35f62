// An actor's or evaluator's place in the run: joins the learner's run service, keeps the lease over reconnects,
// reports, and receives orders.
//
//   Attendance attendance(learner_address, join);
//   ASSIGN_OR_RETURN(v1::Lease lease, attendance.WaitForLease(deadline));
//   while (!attendance.stopped()) { ...; attendance.Report(std::move(report)); }
//
// Thread-safe.
#ifndef HEADRACE_ACTOR_ATTENDANCE_H_
#define HEADRACE_ACTOR_ATTENDANCE_H_

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/client_stream.h"
#include "common/kept_connection.h"
#include "common/mutex.h"
#include "grpcpp/channel.h"
#include "proto/run.pb.h"

namespace headrace {

class Attendance {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  Attendance(const std::string& address, const v1::Join& join);
  // Waits a little until the learner has what was reported.
  ~Attendance();

  // DeadlineExceeded: the learner has not granted one yet. FailedPrecondition or InvalidArgument: it refused this
  // process, and will not change its mind. Cancelled: the run is over.
  absl::StatusOr<v1::Lease> WaitForLease(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  // Sent at once, or after the next reconnect, merged into one: of episodes the oldest are dropped when too many wait.
  // The result of an evaluation does not wait, as the learner orders it again.
  void Report(v1::AttendRequest report) ABSL_LOCKS_EXCLUDED(mutex_);
  // Episodes that were not reported because too many waited.
  uint64_t dropped_episodes() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The next order to evaluate; nullopt: none came in time.
  std::optional<v1::Evaluate> NextOrder(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // The learner has said that the run is over.
  bool stopped() const { return stopped_; }
  // Not OK: the learner refused this process for good.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status OpenStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void CloseStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void Fail(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnClosed(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnMessage(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_);
  void Keep(v1::AttendRequest report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeLease(const v1::Lease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  std::atomic<bool> stopped_ = false;

  mutable Mutex mutex_;
  ConditionVariable changed_;
  v1::Join join_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::Lease> lease_ ABSL_GUARDED_BY(mutex_);
  bool leased_ ABSL_GUARDED_BY(mutex_) = false;  // on the current stream
  v1::AttendRequest unsent_ ABSL_GUARDED_BY(mutex_);
  uint64_t dropped_episodes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<v1::Evaluate> orders_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> stream_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // the current stream has
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);

  KeptConnection connection_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ATTENDANCE_H_
