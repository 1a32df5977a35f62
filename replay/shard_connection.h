// A sampler's connection to one shard: creates the table, keeps a sample and a coordinate stream open, and opens them
// again with growing pauses when they break.
//
// The callbacks run on gRPC's threads or the connection's own, one at a time for each kind; between `connected` and
// `disconnected` both streams are usable. Thread-safe.
#ifndef HEADRACE_REPLAY_SHARD_CONNECTION_H_
#define HEADRACE_REPLAY_SHARD_CONNECTION_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/client_stream.h"
#include "common/mutex.h"
#include "grpcpp/channel.h"
#include "proto/replay.pb.h"

namespace headrace {

struct ShardConnectionOptions {
  std::string address;
  v1::Peer peer;
  v1::TableSpec table;
  std::vector<v1::ColumnSlice> slices;
};

class ShardConnection {
 public:
  struct Callbacks {
    std::function<void(const v1::TableState&)> connected;
    std::function<void(const v1::TableState&)> state;
    std::function<void(const grpc::ByteBuffer&)> sample;  // a SampleResponse
    // Also for each failed attempt. Once the status is fatal no further attempt is made.
    std::function<void(const absl::Status&, bool fatal)> disconnected;
  };

  ShardConnection(ShardConnectionOptions options, Callbacks callbacks);
  ~ShardConnection();

  // Dropped while not connected.
  void RequestSample(const v1::SampleRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);
  void Coordinate(const v1::CoordinateRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void KeepConnected();
  absl::Status CreateTable(v1::TableState& state);
  absl::Status Converse(const v1::TableState& state) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnClosed(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Pause(std::chrono::milliseconds pause) ABSL_LOCKS_EXCLUDED(mutex_);

  const ShardConnectionOptions options_;
  const Callbacks callbacks_;
  const std::shared_ptr<grpc::Channel> channel_;

  Mutex mutex_;
  ConditionVariable changed_;
  std::unique_ptr<ClientStream> sample_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> coordinate_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mutex_);

  std::thread thread_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SHARD_CONNECTION_H_
