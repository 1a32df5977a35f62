// Requests to the learner and their answers, one at a time. Keeps one stream, opened again with growing pauses for as
// long as the object lives; what was asked on a stream that was lost is asked again on the next one, with its number.
//
//   RequestStream<v1::ActResponse> requests({.address = learner, .what = "the policy", ...});
//   requests.Ask([&](uint64_t number) { return MakeActRequest(number, observations); });
//   ASSIGN_OR_RETURN(std::optional<v1::ActResponse> answer, requests.Answer(deadline));
//
// One request is under way at a time: the next one gives it up, and its answer is dropped by its number.
//
// Thread-safe, but for Ask and Answer, which belong to one thread.
#ifndef HEADRACE_ACTOR_REQUEST_STREAM_H_
#define HEADRACE_ACTOR_REQUEST_STREAM_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/kept_connection.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/byte_buffer.h"

namespace headrace {

template <typename Response>
class RequestStream {
 public:
  using Clock = ConditionVariable::Clock;
  struct Options {
    std::string address;                              // of the learner
    std::string what;                                 // it is asked for: "the policy"
    std::string method;                               // "/headrace.v1.Inference/Act"
    grpc::ByteBuffer open;                            // each stream's first message
    std::function<uint64_t(const Response&)> number;  // of the request that is answered; 0: what opens the stream
    std::function<bool()> should_stop;                // asked in every wait
  };

  explicit RequestStream(Options options)
      : options_(std::move(options)),
        channel_(MakeChannel(options_.address)),
        connection_(absl::StrCat(options_.what, " of the learner at ", options_.address),
                    {.open = [this] { return OpenStream(); },
                     .close = [this] { CloseStream(); },
                     .lost = [this](const absl::Status& status, bool final) { OnLost(status, final); }}) {}

  // Sends what `make` returns for the next number, from 1.
  void Ask(const std::function<grpc::ByteBuffer(uint64_t number)>& make) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    answer_.reset();
    asked_ = make(++number_);
    if (stream_ != nullptr) stream_->Send(*asked_);
  }

  // Of the newest request; before the first, of what opens the stream. Each answer is given once. Null: none came in
  // time. Cancelled: this process is to stop. Otherwise what the learner refuses it with.
  absl::StatusOr<std::optional<Response>> Answer(Clock::time_point deadline) ABSL_LOCKS_EXCLUDED(mutex_) {
    while (true) {
      {
        MutexLock lock(&mutex_);
        const Clock::time_point until = std::min(deadline, Clock::now() + kPatience);
        while (!answer_.has_value() && refusal_.ok() && Clock::now() < until) changed_.WaitUntil(&mutex_, until);
        if (answer_.has_value()) return std::exchange(answer_, std::nullopt);
        RETURN_IF_ERROR(refusal_);
        if (Clock::now() >= deadline) return std::nullopt;
      }
      if (options_.should_stop()) return absl::CancelledError("stopping");
    }
  }

  // What the learner refuses this process with, for good.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return refusal_;
  }
  uint64_t reconnects() const { return connection_.reconnects(); }

 private:
  static constexpr std::chrono::milliseconds kPatience{100};  // of one wait, between two looks at should_stop

  absl::Status OpenStream() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::unique_ptr<ClientStream> stream =
        ClientStream::Open(channel_, options_.method,
                           {.message = [this](const grpc::ByteBuffer& message) { OnAnswer(message); },
                            .closed = [this](const absl::Status& status) { connection_.Lost(status); }});
    MutexLock lock(&mutex_);
    stream->Send(options_.open);
    if (asked_.has_value()) stream->Send(*asked_);
    stream_ = std::move(stream);
    return absl::OkStatus();
  }

  void CloseStream() ABSL_LOCKS_EXCLUDED(mutex_) {
    std::unique_ptr<ClientStream> stream;  // destroyed outside the mutex: its last callbacks take it
    MutexLock lock(&mutex_);
    stream = std::move(stream_);
  }

  void OnLost(const absl::Status& status, bool final) ABSL_LOCKS_EXCLUDED(mutex_) {
    if (!final) return;
    MutexLock lock(&mutex_);
    refusal_ = status;
    changed_.NotifyAll();
  }

  void OnAnswer(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_) {
    Response response;
    if (const absl::Status status = FromByteBuffer(message, response); !status.ok()) {
      connection_.Lost(absl::UnavailableError(status.message()));
      return;
    }
    connection_.Proven();
    MutexLock lock(&mutex_);
    // Of a request that was given up, or of a stream that was opened anew while its request is still to be answered.
    if (options_.number(response) != number_) return;
    asked_.reset();
    answer_ = std::move(response);
    changed_.NotifyAll();
  }

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;

  mutable Mutex mutex_;  // taken before the stream's own
  ConditionVariable changed_;
  std::unique_ptr<ClientStream> stream_ ABSL_GUARDED_BY(mutex_);
  uint64_t number_ ABSL_GUARDED_BY(mutex_) = 0;                    // of the newest request
  std::optional<grpc::ByteBuffer> asked_ ABSL_GUARDED_BY(mutex_);  // until it is answered
  std::optional<Response> answer_ ABSL_GUARDED_BY(mutex_);
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);

  KeptConnection connection_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_REQUEST_STREAM_H_
