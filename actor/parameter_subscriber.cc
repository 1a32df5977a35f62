#include "actor/parameter_subscriber.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/log.h"
#include "common/policy_version.h"
#include "proto/parameter.pb.h"

namespace headrace {

ParameterSubscriber::ParameterSubscriber(const std::string& address, const v1::Peer& peer)
    : address_(address),
      peer_(peer),
      channel_(MakeChannel(address)),
      assembler_(peer.run_id()),
      connection_(absl::StrCat("the weights of the learner at ", address),
                  {.open = [this] { return OpenStream(); },
                   .close = [this] { CloseStream(); },
                   .lost = [this](const absl::Status& status, bool final) { OnLost(status, final); }}) {}

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
  connection_.Stop();
}

absl::Status ParameterSubscriber::status() const {
  MutexLock lock(&mutex_);
  return fatal_;
}

absl::Status ParameterSubscriber::OpenStream() {
  assembler_ = WeightsAssembler(peer_.run_id());
  std::unique_ptr<ClientStream> stream =
      ClientStream::Open(channel_, "/headrace.v1.Parameters/Subscribe",
                         {.message = [this](const grpc::ByteBuffer& message) { OnFrame(message); },
                          .closed = [this](const absl::Status& status) { connection_.Lost(status); }});
  v1::SubscribeRequest open;
  *open.mutable_peer() = peer_;
  MutexLock lock(&mutex_);
  stream->Send(ToByteBuffer(open));
  stream_ = std::move(stream);
  return absl::OkStatus();
}

void ParameterSubscriber::CloseStream() {
  std::unique_ptr<ClientStream> stream;  // destroyed outside the mutex: its last callbacks take it
  MutexLock lock(&mutex_);
  stream = std::move(stream_);
}

void ParameterSubscriber::OnLost(const absl::Status& status, bool final) {
  MutexLock lock(&mutex_);
  trouble_ = status;
  if (!final) return;
  fatal_ = status;
  changed_.NotifyAll();
}

void ParameterSubscriber::OnFrame(const grpc::ByteBuffer& message) {
  const absl::StatusOr<bool> complete = assembler_.Add(message);
  if (!complete.ok()) {
    connection_.Lost(complete.status());
    return;
  }
  if (!*complete) return;
  std::shared_ptr<const Weights> weights = assembler_.Take();
  v1::SubscribeRequest confirmation;
  confirmation.set_received(weights->version);
  MutexLock lock(&mutex_);
  if (stream_ == nullptr) return;  // it is being closed
  stream_->Send(ToByteBuffer(confirmation));
  Install(std::move(weights));
}

void ParameterSubscriber::Install(std::shared_ptr<const Weights> weights) {
  connection_.Proven();
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

}  // namespace headrace
