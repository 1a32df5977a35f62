#include "common/client_stream.h"

#include <utility>

#include "common/grpc_status.h"
#include "grpcpp/generic/generic_stub.h"

namespace headrace {

std::unique_ptr<ClientStream> ClientStream::Open(const std::shared_ptr<grpc::Channel>& channel,
                                                 const std::string& method, Callbacks callbacks) {
  std::unique_ptr<ClientStream> stream(new ClientStream(std::move(callbacks)));
  grpc::GenericStub(channel).PrepareBidiStreamingCall(&stream->context_, method, grpc::StubOptions(), stream.get());
  stream->StartRead(&stream->incoming_);
  // Writes are started from outside gRPC's callbacks; the hold keeps the call alive for them until reading ends.
  stream->AddHold();
  stream->StartCall();
  return stream;
}

ClientStream::~ClientStream() {
  context_.TryCancel();
  MutexLock lock(&mutex_);
  while (!done_) done_condition_.Wait(&mutex_);
}

void ClientStream::Send(grpc::ByteBuffer message) {
  MutexLock lock(&mutex_);
  if (ended_ || finishing_) return;
  queue_.push_back(std::move(message));
  if (queue_.size() == 1) WriteNext();
}

void ClientStream::FinishSending() {
  MutexLock lock(&mutex_);
  if (ended_ || finishing_) return;
  finishing_ = true;
  if (queue_.empty()) StartWritesDone();
}

size_t ClientStream::unsent() const {
  MutexLock lock(&mutex_);
  return queue_.size();
}

void ClientStream::Cancel() { context_.TryCancel(); }

void ClientStream::WriteNext() {
  // The hint lets gRPC put a burst of small messages into one system call.
  grpc::WriteOptions options;
  if (queue_.size() > 1) options.set_buffer_hint();
  StartWrite(&queue_.front(), options);
}

void ClientStream::OnReadDone(bool ok) {
  if (ok) {
    callbacks_.message(incoming_);
    StartRead(&incoming_);
    return;
  }
  {
    MutexLock lock(&mutex_);
    ended_ = true;
  }
  RemoveHold();
}

void ClientStream::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mutex_);
    queue_.pop_front();
    if (!ok || ended_) {
      ended_ = true;
      queue_.clear();
      return;
    }
    if (!queue_.empty()) {
      WriteNext();
    } else if (finishing_) {
      StartWritesDone();
    }
  }
  if (callbacks_.sent) callbacks_.sent();
}

void ClientStream::OnDone(const grpc::Status& status) {
  callbacks_.closed(FromGrpc(status));
  MutexLock lock(&mutex_);
  done_ = true;
  done_condition_.NotifyAll();
}

}  // namespace headrace
