#include "common/server_stream.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/refusals.h"
#include "grpcpp/server_context.h"

namespace headrace {
namespace {

struct Hosts {
  Mutex mutex;
  std::map<std::string, std::weak_ptr<std::atomic<size_t>>> unsent_bytes ABSL_GUARDED_BY(mutex);
};

// Never destroyed: gRPC's threads outlive main.
Hosts& TheHosts() {
  static auto* const hosts = new Hosts;
  return *hosts;
}

// "ipv4:10.0.0.1:4000" and "ipv6:%5B::1%5D:4000" without the port, which differs with each connection; what is of
// another kind, such as unix:, has none.
std::string HostOf(const std::string& peer) {
  const bool has_port = peer.starts_with("ipv4:") || peer.starts_with("ipv6:");
  return has_port ? peer.substr(0, peer.rfind(':')) : peer;
}

// One for all streams of a host, gone with the last of them.
std::shared_ptr<std::atomic<size_t>> UnsentBytesOf(const std::string& host) {
  Hosts& all = TheHosts();
  MutexLock lock(&all.mutex);
  std::weak_ptr<std::atomic<size_t>>& known = all.unsent_bytes[host];
  if (std::shared_ptr<std::atomic<size_t>> its = known.lock()) return its;
  std::shared_ptr<std::atomic<size_t>> its(new std::atomic<size_t>(0), [&all, host](std::atomic<size_t>* counter) {
    delete counter;
    MutexLock erasing(&all.mutex);
    const auto found = all.unsent_bytes.find(host);
    if (found != all.unsent_bytes.end() && found->second.expired()) all.unsent_bytes.erase(found);
  });
  known = its;
  return its;
}

// Of all hosts.
std::atomic<size_t> all_unsent_bytes = 0;

// One batch may be larger than all the room, if nothing else waits.
bool AddIfItFits(size_t bytes, size_t most, std::atomic<size_t>& sum) {
  const size_t before = sum.fetch_add(bytes);
  if (before == 0 || before + bytes <= most) return true;
  sum -= bytes;
  return false;
}

}  // namespace

ServerStream* ServerStream::Start(grpc::CallbackServerContext* context, std::shared_ptr<ServerStream> stream,
                                  const StreamLimits& limits) {
  ServerStream* raw = stream.get();
  raw->self_ = std::move(stream);
  raw->context_ = context;
  raw->peer_ = context->peer();
  raw->limits_ = limits;
  raw->unsent_bytes_ = UnsentBytesOf(HostOf(context->peer()));
  // Headers first: a first message with a buffer hint would otherwise hold them back, and the stream with them.
  raw->StartSendInitialMetadata();
  raw->silence_.Set(std::chrono::system_clock::now() + limits.first_message,
                    [weak = raw->weak_from_this()](bool in_time) {
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
  CountUnsent(message.Length());
  queue_.push_back(std::move(message));
  if (queue_.size() == 1) WriteNext();
  if (hurried_ || *unsent_bytes_ <= limits_.unsent_bytes) return;
  hurried_ = true;
  WatchReading(ReadingEnds());
}

bool ServerStream::TakeRoom(size_t bytes) {
  if (!AddIfItFits(bytes, limits_.unsent_bytes, *unsent_bytes_)) return false;
  if (AddIfItFits(bytes, limits_.all_unsent_bytes, all_unsent_bytes)) return true;
  *unsent_bytes_ -= bytes;
  return false;
}

void ServerStream::CountUnsent(size_t bytes) {
  *unsent_bytes_ += bytes;
  all_unsent_bytes += bytes;
}

void ServerStream::CountSent(size_t bytes) {
  *unsent_bytes_ -= bytes;
  all_unsent_bytes -= bytes;
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
  while (!status.ok() && queue_.size() > 1) {
    CountSent(queue_.back().Length());
    queue_.pop_back();
  }
  FinishIfDrained();
}

void ServerStream::WriteNext() {
  grpc::WriteOptions options;
  if (queue_.size() > 1) options.set_buffer_hint();
  write_began_ = std::chrono::steady_clock::now();
  if (reading_ == nullptr) WatchReading(ReadingEnds());
  StartWrite(&queue_.front(), options);
}

ServerStream::Time ServerStream::ReadingEnds() const {
  const bool full = *unsent_bytes_ > limits_.unsent_bytes;
  return write_began_ + (full ? std::min(limits_.reading, limits_.reading_when_full) : limits_.reading);
}

void ServerStream::WatchReading(Time until) {
  reading_ = std::make_unique<grpc::Alarm>();
  // gRPC turns it into a time of its steady clock at once.
  const auto left = until - std::chrono::steady_clock::now();
  reading_->Set(std::chrono::system_clock::now() + left, [weak = weak_from_this()](bool in_time) {
    if (!in_time) return;
    if (const auto alive = weak.lock(); alive != nullptr) alive->CheckReading();
  });
}

void ServerStream::CheckReading() {
  {
    MutexLock lock(&mutex_);
    reading_ = nullptr;
    hurried_ = false;
    if (finished_ || cancelling_ || queue_.empty()) return;
    const Time until = ReadingEnds();
    if (std::chrono::steady_clock::now() < until) return WatchReading(until);
    cancelling_ = true;
  }
  CountRefusal(Refusal::kUnread, peer_);
  // Not under the mutex, because what is cancelled may call back at once.
  context_->TryCancel();
  MutexLock lock(&mutex_);
  cancelling_ = false;
  FinishIfDrained();
}

void ServerStream::FinishIfDrained() {
  if (!closing_ || finished_ || cancelling_ || !queue_.empty()) return;
  finished_ = true;
  Finish(ToGrpc(status_));
}

void ServerStream::EndSilence() {
  if (!silent_) return;
  CountRefusal(Refusal::kSilence, peer_);
  Close(absl::DeadlineExceededError("expected a stream's first message, got none in time"));
}

void ServerStream::OnReadDone(bool ok) {
  if (silent_.exchange(false)) silence_.Cancel();
  if (!ok) return OnEnd();
  const size_t bytes = incoming_.Length();
  if (bytes <= kMaxMessageBytes) return OnMessage(incoming_);
  incoming_.Clear();
  CountRefusal(Refusal::kSize, peer_);
  // In gRPC's own words for what is larger still, by which clients know that it is no use to try again.
  Close(absl::ResourceExhaustedError(
      absl::StrCat("Received message larger than max (", bytes, " vs. ", kMaxMessageBytes, ")")));
}

void ServerStream::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mutex_);
    CountSent(queue_.front().Length());
    queue_.pop_front();
    if (!ok) {
      for (const grpc::ByteBuffer& dropped : queue_) CountSent(dropped.Length());
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
