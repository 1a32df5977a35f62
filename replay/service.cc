#include "replay/service.h"

#include <chrono>
#include <new>

#include "common/grpc_status.h"
#include "common/log.h"
#include "common/mutex.h"
#include "proto/replay.grpc.pb.h"
#include "replay/checkpoint.h"
#include "replay/coordinate_stream.h"
#include "replay/insert_stream.h"
#include "replay/priority_stream.h"
#include "replay/redistribution.h"
#include "replay/sample_stream.h"

namespace headrace {
namespace {

using Bytes = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;
// The streams take bytes; the rest are ordinary calls.
using Base = v1::Replay::WithRawCallbackMethod_Insert<
    v1::Replay::WithRawCallbackMethod_Sample<v1::Replay::WithRawCallbackMethod_Coordinate<
        v1::Replay::WithRawCallbackMethod_UpdatePriorities<v1::Replay::Service>>>>;

class ReplayService final : public Base {
 public:
  ReplayService(Shard* shard, std::string checkpoint_directory, const StreamLimits& limits)
      : shard_(shard), checkpoint_directory_(std::move(checkpoint_directory)), limits_(limits) {}

  Bytes* Insert(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, MakeInsertStream(shard_), limits_);
  }
  Bytes* Sample(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, MakeSampleStream(shard_), limits_);
  }
  Bytes* Coordinate(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, MakeCoordinateStream(shard_), limits_);
  }

  Bytes* UpdatePriorities(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, MakePriorityStream(shard_), limits_);
  }

  grpc::Status Info(grpc::ServerContext*, const v1::InfoRequest*, v1::InfoResponse* response) override {
    *response = shard_->Info();
    return grpc::Status::OK;
  }

  grpc::Status CreateTable(grpc::ServerContext*, const v1::CreateTableRequest* request,
                           v1::CreateTableResponse* response) override {
    if (const absl::Status status = CheckRedistribution(request->redistribution()); !status.ok()) return ToGrpc(status);
    const v1::Redistribution redistribution = headrace::FindFiles(request->redistribution(), checkpoint_directory_);
    const absl::StatusOr<Table*> table = shard_->CreateTable(request->peer(), request->spec(),
                                                             request->has_redistribution() ? &redistribution : nullptr);
    if (!table.ok()) return ToGrpc(table.status());
    response->set_shard(shard_->number());
    response->set_incarnation(shard_->incarnation());
    *response->mutable_state() = (*table)->State();
    response->set_restored_from(shard_->restored_from());
    response->set_writes_checkpoints(!checkpoint_directory_.empty());
    return grpc::Status::OK;
  }

  grpc::Status FindFiles(grpc::ServerContext*, const v1::FindFilesRequest* request,
                         v1::FindFilesResponse* response) override {
    if (const absl::Status status = shard_->CheckPeer(request->peer()); !status.ok()) return ToGrpc(status);
    if (const absl::Status status = CheckRedistribution(request->redistribution()); !status.ok()) return ToGrpc(status);
    const v1::Redistribution here = headrace::FindFiles(request->redistribution(), checkpoint_directory_);
    const std::vector<uint32_t> readable = ReadableFiles(here, request->peer().run_id());
    response->set_shard(shard_->number());
    response->mutable_readable()->Assign(readable.begin(), readable.end());
    return grpc::Status::OK;
  }

  grpc::Status Checkpoint(grpc::ServerContext*, const v1::CheckpointRequest* request,
                          v1::CheckpointResponse* response) override {
    if (const absl::Status status = shard_->CheckPeer(request->peer()); !status.ok()) return ToGrpc(status);
    if (checkpoint_directory_.empty()) {
      return ToGrpc(absl::FailedPreconditionError("this shard was started without --checkpoint_dir"));
    }
    // Whoever waited here would hold a thread that other calls need.
    if (!checkpoint_mutex_.TryLock()) {
      return ToGrpc(absl::AbortedError("another checkpoint is being written: try again"));
    }
    const grpc::Status status = CheckpointAlone(*request, *response);
    checkpoint_mutex_.Unlock();
    return status;
  }

 private:
  grpc::Status CheckpointAlone(const v1::CheckpointRequest& request, v1::CheckpointResponse& response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(checkpoint_mutex_) {
    const auto start = std::chrono::steady_clock::now();
    absl::StatusOr<v1::CheckpointResponse> written;
    try {
      written = WriteCheckpoint(*shard_, checkpoint_directory_, request);
    } catch (const std::bad_alloc&) {
      written = absl::ResourceExhaustedError("there is no memory for its books");
    }
    if (!written.ok()) {
      LogError("checkpoint %s failed: %s", request.name(), written.status().ToString());
      return ToGrpc(written.status());
    }
    LogInfo("checkpoint %s: %d bytes in %.2f s", request.name(), written->bytes(),
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    response = *std::move(written);
    return grpc::Status::OK;
  }

  Shard* const shard_;
  const std::string checkpoint_directory_;
  const StreamLimits limits_;
  Mutex checkpoint_mutex_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeReplayService(Shard* shard, const std::string& checkpoint_directory,
                                                 const StreamLimits& limits) {
  return std::make_unique<ReplayService>(shard, checkpoint_directory, limits);
}

}  // namespace headrace
