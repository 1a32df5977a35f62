#include "learner/gradient_service.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

prometheus::Counter& CounterOf(v1::GradientVerdict verdict, GradientMetrics::Verdicts& gradients) {
  switch (verdict) {
    case v1::APPLIED:
      return gradients.applied;
    case v1::STALE:
      return gradients.stale;
    default:
      return gradients.not_finite;
  }
}

}  // namespace

class GradientService::Stream final : public ServerStream {
 public:
  explicit Stream(GradientService* service) : service_(service) {}

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    const absl::Status status = Read(message);
    if (status.ok()) return;
    LogWarning("gradients of %s refused: %s", open_.peer().name(), status.ToString());
    if (!absl::IsUnavailable(status)) service_->metrics_.refused.Increment();
    Close(status);
  }

  absl::Status Read(const grpc::ByteBuffer& message) {
    GradientPush push;
    RETURN_IF_ERROR(FromByteBuffer(message, push.request));
    if (!opened_) return Open(push.request);
    RETURN_IF_ERROR(service_->CheckGradient(push.request));
    push.index = open_.index();
    push.pusher = open_.pusher();
    push.client = weak_from_this();
    service_->Add(std::move(push));
    return absl::OkStatus();
  }

  absl::Status Open(const v1::PushRequest& request) {
    if (!request.has_open()) return absl::InvalidArgumentError("expected PushOpen in a stream's first message");
    open_ = request.open();
    RETURN_IF_ERROR(service_->CheckOpen(open_));
    opened_ = true;
    service_->Connected(true);
    Send(service_->MakeAnswer(0, v1::GRADIENT_VERDICT_UNSPECIFIED));
    ReadNext();
    return absl::OkStatus();
  }

  void OnClosed() override {
    if (opened_) service_->Connected(false);
  }

  GradientService* const service_;
  v1::PushOpen open_;
  bool opened_ = false;
};

GradientService::GradientService(const v1::LearnerIdentity& identity, MetricRegistry& registry)
    : identity_(identity), metrics_(registry) {}

void GradientService::Open(std::vector<uint64_t> elements) {
  MutexLock lock(&mutex_);
  elements_ = std::move(elements);
}

void GradientService::Publish(uint64_t version, std::string weights) {
  auto newest = std::make_shared<const std::string>(std::move(weights));
  MutexLock lock(&mutex_);
  version_ = version;
  weights_.swap(newest);
}

std::optional<GradientPush> GradientService::Next(std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(&mutex_);
  while (queue_.empty() && std::chrono::steady_clock::now() < deadline) changed_.WaitUntil(&mutex_, deadline);
  if (queue_.empty()) return std::nullopt;
  GradientPush push = std::move(queue_.front());
  queue_.pop_front();
  return push;
}

void GradientService::Answer(const GradientPush& push, v1::GradientVerdict verdict) {
  CounterOf(verdict, metrics_.gradients).Increment();
  const std::shared_ptr<ServerStream> client = push.client.lock();
  if (client == nullptr) return;
  client->Send(MakeAnswer(push.request.number(), verdict));
  client->ReadNext();
}

uint32_t GradientService::clients() const {
  MutexLock lock(&mutex_);
  return clients_;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* GradientService::Push(
    grpc::CallbackServerContext* context) {
  return ServerStream::Start(context, std::make_shared<Stream>(this));
}

absl::Status GradientService::CheckOpen(const v1::PushOpen& open) const {
  RETURN_IF_ERROR(CheckPeer(open.peer(), identity_.run_id()));
  MutexLock lock(&mutex_);
  if (weights_ == nullptr) return absl::UnavailableError("the learner is not ready yet");
  return absl::OkStatus();
}

absl::Status GradientService::CheckGradient(const v1::PushRequest& request) const {
  if (request.has_open() || request.number() == 0) {
    return absl::InvalidArgumentError("expected a gradient with a number, got none, or a PushOpen for the second time");
  }
  MutexLock lock(&mutex_);
  if (request.group() >= elements_.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected a group of parameters below %d, got %d", elements_.size(), request.group()));
  }
  const uint64_t bytes = elements_[request.group()] * sizeof(float);
  if (request.gradients().size() != bytes) {
    return absl::InvalidArgumentError(absl::StrFormat("expected gradients of %d bytes (%d numbers), got %d", bytes,
                                                      elements_[request.group()], request.gradients().size()));
  }
  return absl::OkStatus();
}

void GradientService::Add(GradientPush push) {
  MutexLock lock(&mutex_);
  queue_.push_back(std::move(push));
  changed_.NotifyAll();
}

void GradientService::Connected(bool is) {
  MutexLock lock(&mutex_);
  clients_ += is ? 1 : -1;
  metrics_.clients.Set(clients_);
}

grpc::ByteBuffer GradientService::MakeAnswer(uint64_t number, v1::GradientVerdict verdict) const {
  v1::PushResponse response;
  response.set_number(number);
  response.set_verdict(verdict);
  std::shared_ptr<const std::string> weights;
  {
    MutexLock lock(&mutex_);
    weights = weights_;
    response.set_policy_version(version_);
  }
  response.set_weights(*weights);
  return ToByteBuffer(response);
}

}  // namespace headrace
