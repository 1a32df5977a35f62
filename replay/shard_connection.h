// A sampler's connection to one shard: creates the table, and keeps its streams open: sample, coordinate, priorities.
//
// The callbacks run on gRPC's threads or the connection's own, one at a time for each kind; between `connected` and
// `disconnected` all streams are usable. Thread-safe.
#ifndef HEADRACE_REPLAY_SHARD_CONNECTION_H_
#define HEADRACE_REPLAY_SHARD_CONNECTION_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/client_stream.h"
#include "common/kept_connection.h"
#include "common/mutex.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "proto/replay.pb.h"

namespace headrace {

struct ShardConnectionOptions {
  std::string address;
  v1::Peer peer;
  v1::TableSpec table;
  std::vector<v1::ColumnSlice> slices;
  bool pad = false;
  bool without_replacement = false;
  // What the table is filled with if it is new. Without files: with nothing.
  v1::Redistribution redistribution;
};

class ShardConnection {
 public:
  struct Callbacks {
    std::function<void(const v1::CreateTableResponse&)> connected;
    std::function<void(const v1::TableState&)> state;
    std::function<void(const grpc::ByteBuffer&)> sample;  // a SampleResponse
    // Also for each failed attempt. `final`: it was the last one.
    std::function<void(const absl::Status&, bool final)> disconnected;
  };

  ShardConnection(ShardConnectionOptions options, Callbacks callbacks);
  ~ShardConnection();

  // Cancels what is under way; no further callbacks but those of streams that are closing. Returns at once.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // Dropped while not connected.
  void RequestSample(const v1::SampleRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);
  void Coordinate(const v1::CoordinateRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);
  void UpdatePriorities(const v1::UpdatePrioritiesRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status Open() ABSL_LOCKS_EXCLUDED(mutex_);
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CreateTable(v1::CreateTableResponse& response) ABSL_LOCKS_EXCLUDED(mutex_);

  const ShardConnectionOptions options_;
  const Callbacks callbacks_;
  const std::shared_ptr<grpc::Channel> channel_;

  Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* creating_ ABSL_GUARDED_BY(mutex_) = nullptr;  // the call in progress
  std::unique_ptr<ClientStream> sample_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> coordinate_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> priorities_ ABSL_GUARDED_BY(mutex_);

  KeptConnection connection_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SHARD_CONNECTION_H_
