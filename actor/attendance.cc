#include "actor/attendance.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/log.h"
#include "model/moments.h"

namespace headrace {
namespace {

constexpr int kMaxUnsentEpisodes = 1000;
// How long a member that leaves waits for its last reports to arrive.
constexpr std::chrono::seconds kFarewell{2};

void MergeInto(v1::Moments& kept, const v1::Moments& more) {
  absl::StatusOr<v1::Moments> merged = MergeMoments(kept, more);
  if (merged.ok()) {
    kept = *std::move(merged);
  } else {
    LogWarning("moments dropped: %s", merged.status().ToString());
  }
}

}  // namespace

Attendance::Attendance(const std::string& address, const v1::Join& join)
    : address_(address),
      channel_(MakeChannel(address)),
      join_(join),
      connection_(absl::StrCat("the learner at ", address), {.open = [this] { return OpenStream(); },
                                                             .close = [this] { CloseStream(); },
                                                             .lost =
                                                                 [this](const absl::Status& status, bool final) {
                                                                   MutexLock lock(&mutex_);
                                                                   if (final) Fail(status);
                                                                 }}) {}

Attendance::~Attendance() {
  const Deadline deadline = ConditionVariable::Clock::now() + kFarewell;
  MutexLock lock(&mutex_);
  leaving_ = true;
  if (!leased_) return;
  stream_->FinishSending();
  while (!ended_ && changed_.WaitUntil(&mutex_, deadline)) {
  }
}

absl::Status Attendance::OpenStream() {
  {
    MutexLock lock(&mutex_);
    ended_ = false;  // before the stream is opened: it may end at once
  }
  std::unique_ptr<ClientStream> stream =
      ClientStream::Open(channel_, "/headrace.v1.Run/Attend",
                         {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                          .closed = [this](const absl::Status& status) { OnClosed(status); }});
  MutexLock lock(&mutex_);
  v1::AttendRequest request;
  *request.mutable_join() = join_;
  stream->Send(ToByteBuffer(request));
  stream_ = std::move(stream);
  return absl::OkStatus();
}

void Attendance::CloseStream() {
  std::unique_ptr<ClientStream> stream;  // destroyed outside the mutex: its last callbacks take it
  MutexLock lock(&mutex_);
  stream = std::move(stream_);
  leased_ = false;
  orders_.clear();  // the learner asks somebody else
}

void Attendance::OnClosed(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    ended_ = true;
    changed_.NotifyAll();
    if (leaving_) return;
  }
  connection_.Lost(status);
}

void Attendance::Fail(const absl::Status& status) {
  fatal_ = status;
  changed_.NotifyAll();
}

void Attendance::OnMessage(const grpc::ByteBuffer& message) {
  v1::RunOrder order;
  if (const absl::Status status = FromByteBuffer(message, order); !status.ok()) {
    LogWarning("an order of the learner cannot be read: %s", status.ToString());
    return;
  }
  MutexLock lock(&mutex_);
  if (stream_ == nullptr) return;  // it is being closed
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
    Fail(absl::FailedPreconditionError(
        absl::StrFormat("the learner at %s is now of run %s with another table; this process is of run %s", address_,
                        lease.run_id(), lease_->run_id())));
    return;
  }
  connection_.Proven();
  lease_ = lease;
  leased_ = true;
  join_.set_previous_index(lease.index());
  join_.mutable_peer()->set_run_id(lease.run_id());
  if (unsent_.ByteSizeLong() > 0) stream_->Send(ToByteBuffer(unsent_));
  unsent_.Clear();
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
  if (leased_) {
    stream_->Send(ToByteBuffer(report));
  } else {
    Keep(std::move(report));
  }
}

void Attendance::Keep(v1::AttendRequest report) {
  for (v1::Episode& episode : *report.mutable_episodes()) *unsent_.add_episodes() = std::move(episode);
  if (const int excess = unsent_.episodes_size() - kMaxUnsentEpisodes; excess > 0) {
    unsent_.mutable_episodes()->DeleteSubrange(0, excess);
    dropped_episodes_ += static_cast<uint64_t>(excess);
  }
  if (report.has_observation_moments()) {
    MergeInto(*unsent_.mutable_observation_moments(), report.observation_moments());
  }
  if (report.has_return_moments()) MergeInto(*unsent_.mutable_return_moments(), report.return_moments());
}

uint64_t Attendance::dropped_episodes() const {
  MutexLock lock(&mutex_);
  return dropped_episodes_;
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
