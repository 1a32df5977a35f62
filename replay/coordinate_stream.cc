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
    }
    table_->SetInsertLimit(request.insert_limit(), request.policy_version());
    std::weak_ptr<ServerStream> weak = weak_from_this();
    const uint64_t watch = NewWatch();
    SendState();
    table_->WatchOnce(request.notify_at(), [this, weak, watch] {
      if (const auto alive = weak.lock(); alive != nullptr && IsNewest(watch)) SendState();
    });
    return absl::OkStatus();
  }

  // Only the newest request's watch speaks.
  uint64_t NewWatch() {
    MutexLock lock(&mutex_);
    return ++watch_;
  }
  bool IsNewest(uint64_t watch) {
    MutexLock lock(&mutex_);
    return watch_ == watch;
  }

  void SendState() {
    {
      MutexLock lock(&mutex_);
      if (unsent() > 0) {  // the newest state follows when the last one has left
        pending_ = true;
        return;
      }
    }
    Send(ToByteBuffer(table_->State()));
  }

  void OnSent() override {
    {
      MutexLock lock(&mutex_);
      if (!pending_) return;
      pending_ = false;
    }
    Send(ToByteBuffer(table_->State()));
  }

  Shard* const shard_;
  Table* table_ = nullptr;

  Mutex mutex_;  // taken before ServerStream's own
  uint64_t watch_ ABSL_GUARDED_BY(mutex_) = 0;
  bool pending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::shared_ptr<ServerStream> MakeCoordinateStream(Shard* shard) { return std::make_shared<CoordinateStream>(shard); }

}  // namespace headrace
