#include "actor/gradient_client.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kPatience{100};  // of one wait, between two looks at should_stop

}  // namespace

GradientClient::GradientClient(const std::string& address, v1::PushOpen open, std::function<bool()> should_stop)
    : open_(std::move(open)),
      channel_(MakeChannel(address)),
      should_stop_(std::move(should_stop)),
      connection_(absl::StrCat("the parameters of the learner at ", address),
                  {.open = [this] { return OpenStream(); },
                   .close = [this] { CloseStream(); },
                   .lost = [this](const absl::Status& status, bool final) { OnLost(status, final); }}) {}

absl::StatusOr<v1::PushResponse> GradientClient::WaitForWeights() { return WaitForAnswer(0); }

absl::StatusOr<v1::PushResponse> GradientClient::Push(v1::PushRequest& request) {
  uint64_t number;
  {
    MutexLock lock(&mutex_);
    number = ++number_;
    request.set_number(number);
    answer_.reset();
    pushed_ = ToByteBuffer(request);
    if (stream_ != nullptr) stream_->Send(*pushed_);
  }
  return WaitForAnswer(number);
}

absl::StatusOr<v1::PushResponse> GradientClient::WaitForAnswer(uint64_t number) {
  while (true) {
    {
      MutexLock lock(&mutex_);
      const auto until = ConditionVariable::Clock::now() + kPatience;
      const auto answered = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return answer_.has_value() && answer_->number() == number;
      };
      while (!answered() && fatal_.ok() && ConditionVariable::Clock::now() < until) changed_.WaitUntil(&mutex_, until);
      if (answered()) return *std::exchange(answer_, std::nullopt);
      RETURN_IF_ERROR(fatal_);
    }
    if (should_stop_()) return absl::CancelledError("stopping");
  }
}

absl::Status GradientClient::OpenStream() {
  std::unique_ptr<ClientStream> stream =
      ClientStream::Open(channel_, "/headrace.v1.Gradients/Push",
                         {.message = [this](const grpc::ByteBuffer& message) { OnAnswer(message); },
                          .closed = [this](const absl::Status& status) { connection_.Lost(status); }});
  v1::PushRequest open;
  *open.mutable_open() = open_;
  MutexLock lock(&mutex_);
  stream->Send(ToByteBuffer(open));
  if (pushed_.has_value()) stream->Send(*pushed_);
  stream_ = std::move(stream);
  return absl::OkStatus();
}

void GradientClient::CloseStream() {
  std::unique_ptr<ClientStream> stream;  // destroyed outside the mutex: its last callbacks take it
  MutexLock lock(&mutex_);
  stream = std::move(stream_);
}

void GradientClient::OnLost(const absl::Status& status, bool final) {
  if (!final) return;
  MutexLock lock(&mutex_);
  fatal_ = status;
  changed_.NotifyAll();
}

void GradientClient::OnAnswer(const grpc::ByteBuffer& message) {
  v1::PushResponse response;
  if (const absl::Status status = FromByteBuffer(message, response); !status.ok()) {
    connection_.Lost(absl::UnavailableError(status.message()));
    return;
  }
  connection_.Proven();
  MutexLock lock(&mutex_);
  if (response.number() != number_) return;  // of a stream that was opened anew: its gradient is still to be answered
  pushed_.reset();
  answer_ = std::move(response);
  changed_.NotifyAll();
}

}  // namespace headrace
