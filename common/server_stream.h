// The server's end of a stream of byte messages in both directions, on gRPC's callback threads.
//
// A service derives from it, overrides OnMessage, and returns the object to gRPC as the reactor of a raw method:
//
//   class Echo : public ServerStream {
//     void OnMessage(const grpc::ByteBuffer& message) override { Send(message); ReadNext(); }
//   };
//   grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Call(grpc::CallbackServerContext*) override {
//     return ServerStream::Start(std::make_shared<Echo>());
//   }
//
// Not reading on is how a service pushes back: gRPC's flow control then stops the client. The object keeps itself alive
// until gRPC is done with it; others hold weak pointers. Send, ReadNext and Close may be called from any thread.
#ifndef HEADRACE_COMMON_SERVER_STREAM_H_
#define HEADRACE_COMMON_SERVER_STREAM_H_

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "grpcpp/alarm.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"

namespace headrace {

class ServerStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                     public std::enable_shared_from_this<ServerStream> {
 public:
  static constexpr std::chrono::milliseconds kFirstMessagePatience{30'000};

  // Reads the first message; a stream without one is ended with DEADLINE_EXCEEDED and counted (Refusal::kSilence).
  static ServerStream* Start(std::shared_ptr<ServerStream> stream,
                             std::chrono::milliseconds patience = kFirstMessagePatience);

  // Queued and sent in order; dropped if the stream has ended.
  void Send(grpc::ByteBuffer message) ABSL_LOCKS_EXCLUDED(mutex_);
  // Messages that are queued or on their way out.
  size_t unsent() const ABSL_LOCKS_EXCLUDED(mutex_);
  // To be called once for each OnMessage, when the next message is wanted.
  void ReadNext() ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the stream, after what was sent before has left if the status is OK.
  void Close(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

 protected:
  // Called for one message at a time; the buffer is the callee's until it calls ReadNext.
  virtual void OnMessage(const grpc::ByteBuffer& message) = 0;
  // The client has finished sending, or is gone. Closes by default.
  virtual void OnEnd() { Close(absl::OkStatus()); }
  // A message has left; unsent() says how many are still to go.
  virtual void OnSent() {}
  // The last call of all.
  virtual void OnClosed() {}

 private:
  void OnReadDone(bool ok) final;
  void OnWriteDone(bool ok) final;
  void OnCancel() final;
  void OnDone() final;
  void EndSilence();
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishIfDrained() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::shared_ptr<ServerStream> self_;
  grpc::ByteBuffer incoming_;
  grpc::Alarm silence_;
  std::atomic<bool> silent_ = true;  // no message has come yet

  mutable Mutex mutex_;
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);  // the front one is being written
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_SERVER_STREAM_H_
