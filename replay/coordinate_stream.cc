#include "replay/coordinate_stream.h"

#include "common/byte_buffer.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

class CoordinateStream final : public ServerStream {
 public:
  explicit CoordinateStream(Shard* shard) : shard_(shard) {}

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    if (absl::Status status = Process(message); !status.ok()) {
      LogWarning("coordinator refused: %s", status.ToString());
      Close(status);
      return;
    }
    ReadNext();
  }

  absl::Status Process(const grpc::ByteBuffer& message) {
    v1::CoordinateRequest request;
    RETURN_IF_ERROR(FromByteBuffer(message, request));
    if (table_ == nullptr) {
      RETURN_IF_ERROR(shard_->CheckPeer(request.peer()));
      ASSIGN_OR_RETURN(table_, shard_->FindTable(request.table()));
      shard_->CoordinatorCame();
    }
    table_->SetInsertLimit(request.insert_limit(), request.policy_version());
    {
      MutexLock lock(&mutex_);
      ++request_;
      notify_at_ = request.notify_at();
    }
    // First the watch, then the state: a writer that begins to wait in between is in one of them.
    Watch();
    SendState();
    return absl::OkStatus();
  }

  // Sends the state when the table wakes this, and goes on watching for writers that begin to wait. A stream has one
  // watch: that of an older request, which two threads may set at the same time, must not replace the newest one's.
  void Watch() {
    uint64_t request;
    do {
      uint64_t notify_at;
      {
        MutexLock lock(&mutex_);
        request = request_;
        notify_at = notify_at_;
      }
      std::weak_ptr<ServerStream> weak = weak_from_this();
      table_->WatchOnce(notify_at, {this, [this, weak, request, notify_at] {
                                      if (const auto alive = weak.lock()) OnWatched(request, notify_at);
                                    }});
    } while (!IsNewest(request));
  }

  void OnWatched(uint64_t request, uint64_t notify_at) {
    const bool reached = table_->State().inserted_steps() >= notify_at;
    {
      MutexLock lock(&mutex_);
      if (reached && request_ == request) notify_at_ = UINT64_MAX;
    }
    Watch();
    SendState();
  }

  bool IsNewest(uint64_t request) {
    MutexLock lock(&mutex_);
    return request_ == request;
  }

  // States are read and sent under the mutex, so that a newer one never overtakes an older.
  void SendState() {
    MutexLock lock(&mutex_);
    pending_ = unsent() > 0;  // then the newest state follows when the last one has left
    if (!pending_) Send(ToByteBuffer(table_->State()));
  }

  void OnSent() override {
    MutexLock lock(&mutex_);
    if (!pending_ || unsent() > 0) return;
    pending_ = false;
    Send(ToByteBuffer(table_->State()));
  }

  void OnClosed() override {
    if (table_ == nullptr) return;
    table_->StopWaiting(this);
    shard_->CoordinatorLeft();
  }

  Shard* const shard_;
  Table* table_ = nullptr;

  Mutex mutex_;                                     // taken before the table's and ServerStream's own
  uint64_t request_ ABSL_GUARDED_BY(mutex_) = 0;    // number of the newest
  uint64_t notify_at_ ABSL_GUARDED_BY(mutex_) = 0;  // its; once that is reached, never
  bool pending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::shared_ptr<ServerStream> MakeCoordinateStream(Shard* shard) { return std::make_shared<CoordinateStream>(shard); }

}  // namespace headrace
