// The client's end of a stream of byte messages in both directions, on gRPC's callback threads.
//
//   auto stream = ClientStream::Open(channel, "/headrace.v1.Replay/Insert",
//                                    {.message = [&](const grpc::ByteBuffer& m) { ... },
//                                     .closed = [&](const absl::Status& status) { ... }});
//   stream->Send(ToByteBuffer(open));
//
// Messages arrive one at a time and in order; `closed` comes last, exactly once. Both run on gRPC's threads and must
// not destroy the stream. The destructor cancels, and returns after `closed` has returned.
//
// Thread-safe.
#ifndef HEADRACE_COMMON_CLIENT_STREAM_H_
#define HEADRACE_COMMON_CLIENT_STREAM_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/client_callback.h"

namespace headrace {

class ClientStream final : private grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Callbacks {
    std::function<void(const grpc::ByteBuffer&)> message;
    std::function<void(const absl::Status&)> closed;
    std::function<void()> sent = nullptr;  // a message has left; unsent() says how many are still to go
  };

  static std::unique_ptr<ClientStream> Open(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                                            Callbacks callbacks);
  ~ClientStream() override;

  // Queued and sent in order; dropped if the stream has ended.
  void Send(grpc::ByteBuffer message) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells the peer, after what is queued, that no more will come; the peer then ends the stream.
  void FinishSending() ABSL_LOCKS_EXCLUDED(mutex_);
  // Messages that are queued or on their way out.
  size_t unsent() const ABSL_LOCKS_EXCLUDED(mutex_);
  void Cancel();

 private:
  explicit ClientStream(Callbacks callbacks) : callbacks_(std::move(callbacks)) {}
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Callbacks callbacks_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;

  mutable Mutex mutex_;
  ConditionVariable done_condition_;
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);  // the front one is being written
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // nothing can be sent any more
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CLIENT_STREAM_H_
