#include "learner/parameter_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/check.h"
#include "common/log.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "common/server_stream.h"
#include "common/status_macros.h"
#include "learner/weights_frames.h"
#include "learner/weights_message.h"

namespace headrace {

class ParameterService::Stream final : public ServerStream {
 public:
  explicit Stream(ParameterService* service) : service_(service) {}

  void SendAll(const Weights& weights) {
    for (const grpc::ByteBuffer& frame : weights.frames) Send(frame);
  }

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    v1::SubscribeRequest request;
    absl::Status status = FromByteBuffer(message, request);
    const bool single = !opened_ && request.only() != 0;
    if (status.ok()) status = opened_ ? service_->Confirm(this, request.received()) : Open(request);
    if (!status.ok()) {
      LogWarning("subscriber %s refused: %s", peer_, status.ToString());
      Close(status);
    } else if (single) {
      Close(absl::OkStatus());
    } else {
      ReadNext();
    }
  }

  absl::Status Open(const v1::SubscribeRequest& request) {
    if (!request.has_peer()) return absl::InvalidArgumentError("expected the peer in a subscription's first message");
    peer_ = request.peer().name();
    RETURN_IF_ERROR(CheckPeer(request.peer(), service_->run_id_));
    opened_ = true;
    if (request.only() != 0) return service_->SendOnly(this, request.only());
    service_->Add(this);
    return absl::OkStatus();
  }

  void OnClosed() override { service_->Remove(this); }

  ParameterService* const service_;
  std::string peer_ = "(not yet known)";
  bool opened_ = false;
};

void ParameterService::Publish(uint64_t version, uint64_t env_steps, std::string safetensors) {
  HEADRACE_CHECK(!safetensors.empty());
  v1::WeightsHeader header;
  header.set_version(version);
  header.set_run_id(run_id_);
  header.set_env_steps(env_steps);
  Weights weights{.safetensors = ToSlice(std::move(safetensors))};
  weights.frames = FrameWeights(std::move(header), weights.safetensors);
  {
    MutexLock lock(&mutex_);
    HEADRACE_CHECK(version > newest_version_);
    newest_version_ = version;
    std::swap(newest_, weights);
    for (auto& [stream, subscriber] : subscribers_) {
      if (subscriber.received == subscriber.sent) SendNewest(stream, subscriber);
    }
  }
  // The version before is freed here, outside the mutex.
}

std::optional<grpc::Slice> ParameterService::Hold(uint64_t version) {
  MutexLock lock(&mutex_);
  if (version != 0 && version == newest_version_) held_[version] = newest_;
  const auto held = held_.find(version);
  if (held == held_.end()) return std::nullopt;
  return held->second.safetensors;
}

void ParameterService::Release(uint64_t version) {
  MutexLock lock(&mutex_);
  held_.erase(version);
}

size_t ParameterService::subscribers() const {
  MutexLock lock(&mutex_);
  return subscribers_.size();
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ParameterService::Subscribe(
    grpc::CallbackServerContext* context) {
  return ServerStream::Start(context, std::make_shared<Stream>(this));
}

absl::Status ParameterService::SendOnly(Stream* stream, uint64_t version) {
  MutexLock lock(&mutex_);
  const auto held = held_.find(version);
  if (held != held_.end()) {
    stream->SendAll(held->second);
  } else if (version == newest_version_) {
    stream->SendAll(newest_);
  } else {
    return absl::NotFoundError(absl::StrFormat("version %s is not held; the newest is %s", PolicyVersionName(version),
                                               PolicyVersionName(newest_version_)));
  }
  return absl::OkStatus();
}

std::optional<uint64_t> ParameterService::OldestReceived() const {
  MutexLock lock(&mutex_);
  std::optional<uint64_t> oldest;
  for (const auto& [stream, subscriber] : subscribers_) {
    if (subscriber.received != 0) oldest = std::min(oldest.value_or(subscriber.received), subscriber.received);
  }
  return oldest;
}

void ParameterService::Add(Stream* stream) {
  MutexLock lock(&mutex_);
  SendNewest(stream, subscribers_[stream]);
}

absl::Status ParameterService::Confirm(Stream* stream, uint64_t received) {
  MutexLock lock(&mutex_);
  Subscriber& subscriber = subscribers_.at(stream);
  if (received == subscriber.received || received != subscriber.sent) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "version %s was confirmed, the one sent last is %s, the one confirmed last %s", PolicyVersionName(received),
        PolicyVersionName(subscriber.sent), PolicyVersionName(subscriber.received)));
  }
  subscriber.received = received;
  SendNewest(stream, subscriber);
  return absl::OkStatus();
}

void ParameterService::Remove(Stream* stream) {
  MutexLock lock(&mutex_);
  subscribers_.erase(stream);
}

void ParameterService::SendNewest(Stream* stream, Subscriber& subscriber) {
  if (subscriber.sent == newest_version_) return;
  subscriber.sent = newest_version_;
  stream->SendAll(newest_);
}

}  // namespace headrace
