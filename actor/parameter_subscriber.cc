#include "actor/parameter_subscriber.h"

#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/backoff.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/log.h"
#include "common/policy_version.h"
#include "proto/parameter.pb.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};

bool IsFatal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

std::unique_ptr<ParameterSubscriber> ParameterSubscriber::Start(const std::string& address, const v1::Peer& peer) {
  return std::unique_ptr<ParameterSubscriber>(new ParameterSubscriber(address, peer));
}

ParameterSubscriber::ParameterSubscriber(const std::string& address, const v1::Peer& peer)
    : address_(address), peer_(peer), channel_(MakeChannel(address)), thread_([this] { KeepSubscribed(); }) {}

ParameterSubscriber::~ParameterSubscriber() {
  Cancel();
  thread_.join();
}

std::shared_ptr<const Weights> ParameterSubscriber::Newest() const {
  MutexLock lock(&mutex_);
  return newest_;
}

absl::StatusOr<std::shared_ptr<const Weights>> ParameterSubscriber::WaitFor(uint64_t at_least,
                                                                            Clock::time_point deadline) {
  const auto awaited = [&] {
    return absl::StrCat("weights of version ", PolicyVersionName(at_least), " or newer from ", address_);
  };
  MutexLock lock(&mutex_);
  while (true) {
    if (newest_ != nullptr && newest_->version >= at_least) return newest_;
    if (cancelled_) return absl::CancelledError(absl::StrCat("cancelled while waiting for ", awaited()));
    if (!fatal_.ok()) return fatal_;
    if (Clock::now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrFormat("no %s: the newest is %s; %s", awaited(), PolicyVersionName(newest_version_),
                          trouble_.ok() ? "the learner has not sent any newer" : trouble_.ToString()));
    }
    changed_.WaitUntil(&mutex_, deadline);
  }
}

void ParameterSubscriber::Cancel() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  changed_.NotifyAll();
}

bool ParameterSubscriber::connected() const {
  MutexLock lock(&mutex_);
  return stream_ != nullptr && !closed_ && channel_->GetState(/*try_to_connect=*/false) == GRPC_CHANNEL_READY;
}

absl::Status ParameterSubscriber::status() const {
  MutexLock lock(&mutex_);
  return fatal_;
}

void ParameterSubscriber::KeepSubscribed() {
  Backoff backoff(kFirstPause, kLongestPause, RandomStream(absl::HashOf(address_, peer_.name())));
  while (true) {
    bool delivered = false;
    const absl::Status status = Converse(delivered);
    if (delivered) backoff.Reset();
    if (!Pause(status, backoff.Next())) return;
  }
}

absl::Status ParameterSubscriber::Converse(bool& delivered) {
  WeightsAssembler assembler(peer_.run_id());
  {
    MutexLock lock(&mutex_);
    delivered_ = false;
    closed_ = false;
  }
  std::unique_ptr<ClientStream> stream = ClientStream::Open(
      channel_, "/headrace.v1.Parameters/Subscribe",
      {.message = [this, &assembler](const grpc::ByteBuffer& message) { OnFrame(assembler, message); },
       .closed = [this](const absl::Status& status) { OnClosed(status); }});
  v1::SubscribeRequest open;
  *open.mutable_peer() = peer_;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    stream_ = std::move(stream);
    stream_->Send(ToByteBuffer(open));
    while (!closed_ && !cancelled_) changed_.Wait(&mutex_);
    stream = std::move(stream_);
    status = close_status_;
    delivered = delivered_;
  }
  // Outside the mutex: the stream's last callbacks take it.
  stream.reset();
  return status.ok() ? absl::UnavailableError("the learner ended the stream") : status;
}

void ParameterSubscriber::OnFrame(WeightsAssembler& assembler, const grpc::ByteBuffer& message) {
  const absl::StatusOr<bool> complete = assembler.Add(message);
  if (!complete.ok()) {
    OnClosed(complete.status());
    return;
  }
  if (!*complete) return;
  std::shared_ptr<const Weights> weights = assembler.Take();
  v1::SubscribeRequest confirmation;
  confirmation.set_received(weights->version);
  MutexLock lock(&mutex_);
  if (stream_ == nullptr || closed_) return;
  stream_->Send(ToByteBuffer(confirmation));
  Install(std::move(weights));
}

void ParameterSubscriber::Install(std::shared_ptr<const Weights> weights) {
  if (!delivered_ && newest_ != nullptr) ++reconnects_;
  delivered_ = true;
  trouble_ = absl::OkStatus();
  if (newest_ != nullptr && weights->version < newest_->version) {
    LogWarning("kept weights %s: the learner at %s sent the older %s", PolicyVersionName(newest_->version), address_,
               PolicyVersionName(weights->version));
    return;
  }
  newest_ = std::move(weights);
  newest_version_ = newest_->version;
  changed_.NotifyAll();
}

void ParameterSubscriber::OnClosed(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (closed_) return;  // the first to close says why
  closed_ = true;
  close_status_ = status;
  changed_.NotifyAll();
}

bool ParameterSubscriber::Pause(const absl::Status& cause, std::chrono::milliseconds pause) {
  const Clock::time_point until = Clock::now() + pause;
  MutexLock lock(&mutex_);
  if (cancelled_) return false;
  if (IsFatal(cause)) {
    LogError("the learner at %s refused the subscription: %s", address_, cause.ToString());
    fatal_ = cause;
    changed_.NotifyAll();
    return false;
  }
  // Each attempt fails the same way while the learner is away: once is enough for the log.
  if (trouble_.code() != cause.code()) LogWarning("no weights from %s: %s", address_, cause.ToString());
  trouble_ = cause;
  while (!cancelled_ && Clock::now() < until) changed_.WaitUntil(&mutex_, until);
  return !cancelled_;
}

}  // namespace headrace
