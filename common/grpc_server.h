// gRPC servers and channels, made in one place: limits, keepalive, reflection, health.
#ifndef HEADRACE_COMMON_GRPC_SERVER_H_
#define HEADRACE_COMMON_GRPC_SERVER_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rpc_metrics.h"
#include "grpcpp/channel.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "grpcpp/server.h"

namespace headrace {

// The largest message that a peer may send; larger ones end their stream with RESOURCE_EXHAUSTED.
inline constexpr int kMaxMessageBytes = 64 << 20;

class GrpcServer {
 public:
  // Serves until destroyed. Port 0 takes a free one. Unavailable: the address cannot be bound (the message names it).
  // `metrics`: null where calls are not counted.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const std::string& listen,
                                                           const std::vector<grpc::Service*>& services,
                                                           const RpcMetrics* metrics = nullptr);
  ~GrpcServer();

  // "127.0.0.1:41234", with the port that was chosen.
  const std::string& address() const { return address_; }
  // Refuses new calls, and after the grace cancels what still runs.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  GrpcServer(std::string address, std::unique_ptr<grpc::Server> server)
      : address_(std::move(address)), server_(std::move(server)) {}

  const std::string address_;
  const std::unique_ptr<grpc::Server> server_;
};

// gRPC health on a plain port of its own, for probes.
class HealthServer {
 public:
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const std::string& listen);
  ~HealthServer();

  const std::string& address() const { return address_; }
  // NOT_SERVING until told otherwise.
  void SetServing(bool serving);

 private:
  HealthServer(std::string address, std::unique_ptr<grpc::Server> server)
      : address_(std::move(address)), server_(std::move(server)) {}

  const std::string address_;
  const std::unique_ptr<grpc::Server> server_;
};

// A connection of its own to `address`, which is tried again with growing, jittered pauses while it is in use.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// Raises malloc's trim and mmap thresholds: message buffers are then reused instead of returned to the system, which
// doubles streaming throughput. To be called at the start of a process that streams.
void TuneAllocatorForStreaming();

}  // namespace headrace

#endif  // HEADRACE_COMMON_GRPC_SERVER_H_
