#include "actor/attendance.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "common/backoff.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/log.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};
constexpr size_t kMaxUnsent = 1000;

bool IsFatal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

std::unique_ptr<Attendance> Attendance::Start(const std::string& address, const v1::Join& join) {
  std::unique_ptr<Attendance> attendance(new Attendance(address, join));
  attendance->thread_ = std::thread([raw = attendance.get()] { raw->KeepAttending(); });
  return attendance;
}

Attendance::Attendance(const std::string& address, const v1::Join& join)
    : address_(address), channel_(MakeChannel(address)), join_(join) {}

Attendance::~Attendance() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void Attendance::KeepAttending() {
  Backoff backoff(kFirstPause, kLongestPause,
                  RandomStream(std::chrono::steady_clock::now().time_since_epoch().count()));
  while (true) {
    std::unique_ptr<ClientStream> stream =
        ClientStream::Open(channel_, "/headrace.v1.Run/Attend",
                           {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                            .closed = [this](const absl::Status& status) { OnClosed(status); }});
    {
      MutexLock lock(&mutex_);
      v1::AttendRequest request;
      *request.mutable_join() = join_;
      stream->Send(ToByteBuffer(request));
      stream_ = std::move(stream);
      while (!closed_ && !stopping_) changed_.Wait(&mutex_);
      if (leased_) {
        backoff.Reset();
        if (!stopping_ && !stopped_)
          LogWarning("connection to the learner at %s lost: %s", address_, close_status_.ToString());
      }
      leased_ = false;
      orders_.clear();  // the learner asks somebody else
      if (!stopping_ && IsFatal(close_status_)) fatal_ = close_status_;
      changed_.NotifyAll();
      stream = std::move(stream_);
    }
    stream.reset();  // outside the mutex: its last callback takes it
    MutexLock lock(&mutex_);
    closed_ = false;
    const auto until = ConditionVariable::Clock::now() + backoff.Next();
    while (!stopping_ && (!fatal_.ok() || ConditionVariable::Clock::now() < until)) {
      if (fatal_.ok()) {
        changed_.WaitUntil(&mutex_, until);
      } else {
        changed_.Wait(&mutex_);
      }
    }
    if (stopping_) return;
  }
}

void Attendance::OnMessage(const grpc::ByteBuffer& message) {
  v1::RunOrder order;
  if (const absl::Status status = FromByteBuffer(message, order); !status.ok()) {
    LogWarning("an order of the learner cannot be read: %s", status.ToString());
    return;
  }
  MutexLock lock(&mutex_);
  if (order.has_lease()) TakeLease(order.lease());
  if (order.has_evaluate()) orders_.push_back(order.evaluate());
  if (!order.stop().empty()) {
    LogInfo("the run is over: %s", order.stop());
    stopped_ = true;
  }
  changed_.NotifyAll();
}

void Attendance::TakeLease(const v1::Lease& lease) {
  if (lease_.has_value() && (lease.run_id() != lease_->run_id() ||
                             lease.table().SerializeAsString() != lease_->table().SerializeAsString())) {
    fatal_ = absl::FailedPreconditionError(
        absl::StrFormat("the learner at %s is now of run %s with another table; this process is of run %s", address_,
                        lease.run_id(), lease_->run_id()));
    return;
  }
  lease_ = lease;
  leased_ = true;
  join_.set_previous_index(lease.index());
  join_.mutable_peer()->set_run_id(lease.run_id());
  if (stream_ == nullptr) return;  // stopping
  for (const v1::AttendRequest& report : unsent_) stream_->Send(ToByteBuffer(report));
  unsent_.clear();
}

void Attendance::OnClosed(const absl::Status& status) {
  MutexLock lock(&mutex_);
  closed_ = true;
  close_status_ = status;
  changed_.NotifyAll();
}

absl::StatusOr<v1::Lease> Attendance::WaitForLease(Deadline deadline) {
  MutexLock lock(&mutex_);
  while (true) {
    if (!fatal_.ok()) return fatal_;
    if (stopped_) return absl::CancelledError("the run is over");
    if (lease_.has_value()) return *lease_;
    if (!changed_.WaitUntil(&mutex_, deadline)) {
      return absl::DeadlineExceededError(absl::StrFormat("the learner at %s has not granted a lease", address_));
    }
  }
}

void Attendance::Report(v1::AttendRequest report) {
  MutexLock lock(&mutex_);
  if (leased_ && stream_ != nullptr) {
    stream_->Send(ToByteBuffer(report));
    return;
  }
  unsent_.push_back(std::move(report));
  if (unsent_.size() > kMaxUnsent) unsent_.pop_front();
}

std::optional<v1::Evaluate> Attendance::NextOrder(Deadline deadline) {
  MutexLock lock(&mutex_);
  while (orders_.empty() && !stopped_ && fatal_.ok()) {
    if (!changed_.WaitUntil(&mutex_, deadline)) break;
  }
  if (orders_.empty()) return std::nullopt;
  const v1::Evaluate order = orders_.front();
  orders_.pop_front();
  return order;
}

absl::Status Attendance::status() const {
  MutexLock lock(&mutex_);
  return fatal_;
}

}  // namespace headrace
