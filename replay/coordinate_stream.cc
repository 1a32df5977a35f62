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
    uint64_t newest;
    {
      MutexLock lock(&mutex_);
      newest = ++request_;
    }
    // First the watch, then the state: a writer that begins to wait in between is in one of them.
    Watch(newest, request.notify_at());
    SendState();
    return absl::OkStatus();
  }

  // Sends the state when the table wakes this, and goes on watching for writers that begin to wait.
  void Watch(uint64_t request, uint64_t notify_at) {
    std::weak_ptr<ServerStream> weak = weak_from_this();
    table_->WatchOnce(notify_at, {this, [this, weak, request, notify_at] {
                                    const auto alive = weak.lock();
                                    if (alive == nullptr || !IsNewest(request)) return;
                                    const bool reached = table_->State().inserted_steps() >= notify_at;
                                    Watch(request, reached ? UINT64_MAX : notify_at);
                                    SendState();
                                  }});
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

  Mutex mutex_;                                   // taken before the table's and ServerStream's own
  uint64_t request_ ABSL_GUARDED_BY(mutex_) = 0;  // number of the newest
  bool pending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::shared_ptr<ServerStream> MakeCoordinateStream(Shard* shard) { return std::make_shared<CoordinateStream>(shard); }

}  // namespace headrace
