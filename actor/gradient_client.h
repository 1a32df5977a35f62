// Pushes gradients to the learner and receives weights (proto/gradient.proto). Keeps one stream, opened again with
// growing pauses for as long as the object lives; a gradient that was on its way when a stream was lost is sent again
// on the next one, and applied once.
//
// Thread-safe, but one gradient is under way at a time.
#ifndef HEADRACE_ACTOR_GRADIENT_CLIENT_H_
#define HEADRACE_ACTOR_GRADIENT_CLIENT_H_

#include <functional>
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
#include "grpcpp/support/byte_buffer.h"
#include "proto/gradient.pb.h"

namespace headrace {

class GradientClient {
 public:
  // `open`: who pushes. `should_stop` is asked in every wait.
  GradientClient(const std::string& address, v1::PushOpen open, std::function<bool()> should_stop);

  // The first weights. Cancelled: the actor is to stop. Otherwise what the learner refuses this process with.
  absl::StatusOr<v1::PushResponse> WaitForWeights() ABSL_LOCKS_EXCLUDED(mutex_);
  // Numbers the gradient, sends it, and waits for its answer. The same errors.
  absl::StatusOr<v1::PushResponse> Push(v1::PushRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);

  uint64_t reconnects() const { return connection_.reconnects(); }

 private:
  // For the answer to this number.
  absl::StatusOr<v1::PushResponse> WaitForAnswer(uint64_t number) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Status OpenStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void CloseStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnLost(const absl::Status& status, bool final) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnAnswer(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_);

  const v1::PushOpen open_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::function<bool()> should_stop_;

  Mutex mutex_;  // taken before the stream's own
  ConditionVariable changed_;
  std::unique_ptr<ClientStream> stream_ ABSL_GUARDED_BY(mutex_);
  uint64_t number_ ABSL_GUARDED_BY(mutex_) = 0;                     // of the newest gradient
  std::optional<grpc::ByteBuffer> pushed_ ABSL_GUARDED_BY(mutex_);  // until it is answered
  std::optional<v1::PushResponse> answer_ ABSL_GUARDED_BY(mutex_);
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);

  KeptConnection connection_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_GRADIENT_CLIENT_H_
