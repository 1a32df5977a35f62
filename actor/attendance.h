// An actor's or evaluator's place in the run: joins the learner's run service, keeps the lease over reconnects,
// reports, and receives orders.
//
//   auto attendance = Attendance::Start(learner_address, join);
//   ASSIGN_OR_RETURN(v1::Lease lease, attendance->WaitForLease(deadline));
//   while (!attendance->stopped()) { ...; attendance->Report(std::move(report)); }
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
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/client_stream.h"
#include "common/mutex.h"
#include "grpcpp/channel.h"
#include "proto/run.pb.h"

namespace headrace {

class Attendance {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  static std::unique_ptr<Attendance> Start(const std::string& address, const v1::Join& join);
  ~Attendance();

  // DeadlineExceeded: the learner has not granted one yet. FailedPrecondition or InvalidArgument: it refused this
  // process, and will not change its mind. Cancelled: the run is over.
  absl::StatusOr<v1::Lease> WaitForLease(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  // Sent at once, or after the next reconnect; the oldest are dropped when too many wait.
  void Report(v1::AttendRequest report) ABSL_LOCKS_EXCLUDED(mutex_);
  // The next order to evaluate; nullopt: none came in time.
  std::optional<v1::Evaluate> NextOrder(Deadline deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // The learner has said that the run is over.
  bool stopped() const { return stopped_; }
  // Not OK: the learner refused this process for good.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Attendance(const std::string& address, const v1::Join& join);

  void KeepAttending();
  void OnMessage(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnClosed(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void TakeLease(const v1::Lease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  std::atomic<bool> stopped_ = false;

  mutable Mutex mutex_;
  ConditionVariable changed_;
  v1::Join join_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::Lease> lease_ ABSL_GUARDED_BY(mutex_);
  bool leased_ ABSL_GUARDED_BY(mutex_) = false;  // on the current stream
  std::deque<v1::AttendRequest> unsent_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::Evaluate> orders_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> stream_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mutex_);
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ATTENDANCE_H_
