#include "common/server_stream.h"

#include <utility>

#include "common/grpc_status.h"
#include "common/refusals.h"

namespace headrace {

ServerStream* ServerStream::Start(std::shared_ptr<ServerStream> stream, std::chrono::milliseconds patience) {
  ServerStream* raw = stream.get();
  raw->self_ = std::move(stream);
  // Headers first: a first message with a buffer hint would otherwise hold them back, and the stream with them.
  raw->StartSendInitialMetadata();
  raw->silence_.Set(std::chrono::system_clock::now() + patience, [weak = raw->weak_from_this()](bool in_time) {
    // Not even for a moment: a stream that has been heard must end with its call, and not here.
    if (!in_time) return;
    if (const auto alive = weak.lock(); alive != nullptr) alive->EndSilence();
  });
  raw->StartRead(&raw->incoming_);
  return raw;
}

void ServerStream::Send(grpc::ByteBuffer message) {
  MutexLock lock(&mutex_);
  if (closing_) return;
  queue_.push_back(std::move(message));
  if (queue_.size() == 1) WriteNext();
}

size_t ServerStream::unsent() const {
  MutexLock lock(&mutex_);
  return queue_.size();
}

void ServerStream::ReadNext() {
  MutexLock lock(&mutex_);
  if (!finished_) StartRead(&incoming_);
}

void ServerStream::Close(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (closing_) return;
  closing_ = true;
  status_ = status;
  // After an error what is queued is of no use; only the message on its way must be waited for.
  if (!status.ok() && queue_.size() > 1) queue_.erase(queue_.begin() + 1, queue_.end());
  FinishIfDrained();
}

void ServerStream::WriteNext() {
  grpc::WriteOptions options;
  if (queue_.size() > 1) options.set_buffer_hint();
  StartWrite(&queue_.front(), options);
}

void ServerStream::FinishIfDrained() {
  if (!closing_ || finished_ || !queue_.empty()) return;
  finished_ = true;
  Finish(ToGrpc(status_));
}

void ServerStream::EndSilence() {
  if (!silent_) return;
  CountRefusal(Refusal::kSilence);
  Close(absl::DeadlineExceededError("expected a stream's first message, got none in time"));
}

void ServerStream::OnReadDone(bool ok) {
  if (silent_.exchange(false)) silence_.Cancel();
  if (ok) {
    OnMessage(incoming_);
  } else {
    OnEnd();
  }
}

void ServerStream::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mutex_);
    queue_.pop_front();
    if (!ok) {
      queue_.clear();
      if (!closing_) {
        closing_ = true;
        status_ = absl::CancelledError("the peer is gone");
      }
    }
    if (!queue_.empty()) WriteNext();
    FinishIfDrained();
    if (closing_) return;
  }
  OnSent();
}

void ServerStream::OnCancel() { Close(absl::CancelledError("the peer is gone")); }

void ServerStream::OnDone() {
  OnClosed();
  self_.reset();
}

}  // namespace headrace
