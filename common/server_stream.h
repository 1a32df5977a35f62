// The server's end of a stream of byte messages in both directions, on gRPC's callback threads.
//
// A service derives from it, overrides OnMessage, and returns the object to gRPC as the reactor of a raw method:
//
//   class Echo : public ServerStream {
//     void OnMessage(const grpc::ByteBuffer& message) override { Send(message); ReadNext(); }
//   };
//   grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Call(grpc::CallbackServerContext* context) override {
//     return ServerStream::Start(context, std::make_shared<Echo>());
//   }
//
// Not reading on is how a service pushes back: gRPC's flow control then stops the client. A client may not push back
// for ever: it is cut off (Refusal::kSilence, kUnread) when its first message does not come or when it does not take a
// message that is sent to it, which is looked at sooner when too many bytes wait for its host. Too large a message ends
// the stream as well (kSize).
// The object keeps itself alive until gRPC is done with it; others hold weak pointers. Send, ReadNext and Close may be
// called from any thread.
#ifndef HEADRACE_COMMON_SERVER_STREAM_H_
#define HEADRACE_COMMON_SERVER_STREAM_H_

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "grpcpp/alarm.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"

namespace headrace {

// The largest message that a peer may send; larger ones end their stream with RESOURCE_EXHAUSTED.
inline constexpr int kMaxMessageBytes = 64 << 20;

struct StreamLimits {
  // Until the first message; a stream without one is ended with DEADLINE_EXCEEDED.
  std::chrono::milliseconds first_message{30'000};
  // Until a message that is sent has been taken. Nothing can be told to a client that does not read: it sees CANCELLED.
  std::chrono::milliseconds reading{300'000};
  // That wait for a client's host, on all streams together; more than two batches of the largest size. While it is
  // more, a message must be taken sooner. That cuts off who hoards, and not who reads and shares a host with him, or
  // one slice of weights that was sent to all the actors of a host.
  size_t unsent_bytes = size_t{5} << 29;
  std::chrono::milliseconds reading_when_full{5'000};
  // That wait for all hosts together. It bounds what is gathered for them, not what is sent anyway, as weights are.
  size_t all_unsent_bytes = size_t{3} << 30;
};

class ServerStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                     public std::enable_shared_from_this<ServerStream> {
 public:
  // Reads the first message.
  static ServerStream* Start(grpc::CallbackServerContext* context, std::shared_ptr<ServerStream> stream,
                             const StreamLimits& limits = {});

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
  // For so much that is about to be gathered and sent, among what may wait for the client's host and for all of them;
  // false: there is none. It is given back when all has been given to Send, which counts it by itself.
  bool TakeRoom(size_t bytes);
  void GiveRoomBack(size_t bytes) { CountSent(bytes); }
  // A message has left; unsent() says how many are still to go.
  virtual void OnSent() {}
  // The last call of all.
  virtual void OnClosed() {}

 private:
  void OnReadDone(bool ok) final;
  void OnWriteDone(bool ok) final;
  void OnCancel() final;
  void OnDone() final;
  using Time = std::chrono::steady_clock::time_point;

  void CountUnsent(size_t bytes);
  void CountSent(size_t bytes);
  void EndSilence();
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Time ReadingEnds() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WatchReading(Time until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckReading() ABSL_LOCKS_EXCLUDED(mutex_);
  void FinishIfDrained() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::shared_ptr<ServerStream> self_;
  grpc::CallbackServerContext* context_ = nullptr;  // until Finish
  std::string peer_;                                // its address
  StreamLimits limits_;
  std::shared_ptr<std::atomic<size_t>> unsent_bytes_;  // of the host
  grpc::ByteBuffer incoming_;
  grpc::Alarm silence_;
  std::atomic<bool> silent_ = true;  // no message has come yet

  mutable Mutex mutex_;
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);  // the front one is being written
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  Time write_began_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> reading_ ABSL_GUARDED_BY(mutex_);  // null: nobody looks whether the client reads
  bool hurried_ ABSL_GUARDED_BY(mutex_) = false;                  // it is looked sooner, because the host has too much
  bool cancelling_ ABSL_GUARDED_BY(mutex_) = false;               // Finish must wait
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_SERVER_STREAM_H_
