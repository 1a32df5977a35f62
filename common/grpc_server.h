// gRPC servers and channels, made in one place: security, limits, keepalive, reflection, health.
#ifndef HEADRACE_COMMON_GRPC_SERVER_H_
#define HEADRACE_COMMON_GRPC_SERVER_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/connection_gate.h"
#include "common/rpc_metrics.h"
#include "common/security.h"
#include "common/server_stream.h"
#include "grpcpp/channel.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "grpcpp/server.h"

namespace headrace {

struct ServerLimits {
  ConnectionLimits connections = DefaultConnectionLimits();
  // What messages that are on their way in may take, for each of so many groups of clients: gRPC 1.51 looks at a
  // message's size only when it has all of it. Close to this it takes less at a time, then no new connections, then it
  // ends streams with RESOURCE_EXHAUSTED, whosever of the group they are: for ours a reason to try again
  // (common/kept_connection.h). Hosts are dealt among the groups as they come, so that one that hoards is felt by few,
  // and where there are no more hosts than groups, by nobody else. So are the connections of this machine, one by one.
  struct Groups {
    size_t number;
    size_t buffer_bytes;
  };
  static constexpr size_t kHostGroups = 5;
  static constexpr size_t kHostBufferBytes = size_t{512} << 20;
  Groups hosts = {.number = kHostGroups, .buffer_bytes = kHostBufferBytes};
  Groups this_machine = {.number = 16, .buffer_bytes = size_t{160} << 20};
  // Until a connection is ready for calls, from its first bytes on.
  std::chrono::milliseconds handshake{10'000};
};

class GrpcServer {
 public:
  // Serves until destroyed. Port 0 takes a free one. UNAVAILABLE: the address cannot be bound (the message names it).
  // FAILED_PRECONDITION: `security` does not allow it. `metrics`: null where calls are not counted.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const std::string& listen,
                                                           const std::vector<grpc::Service*>& services,
                                                           const RpcMetrics* metrics = nullptr,
                                                           const Security& security = *ProcessSecurity(),
                                                           const ServerLimits& limits = {});
  ~GrpcServer();

  // "127.0.0.1:41234", with the port that was chosen.
  const std::string& address() const { return gate_->address(); }
  // Refuses new calls, and after the grace cancels what still runs.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  GrpcServer(std::unique_ptr<ConnectionGate> gate, std::vector<std::unique_ptr<grpc::Server>> servers)
      : gate_(std::move(gate)), servers_(std::move(servers)) {}

  const std::unique_ptr<ConnectionGate> gate_;
  const std::vector<std::unique_ptr<grpc::Server>> servers_;  // for each group of hosts, which alone have its buffers
};

// gRPC health on a plain port of its own, for probes: those of Kubernetes speak no TLS. It answers nothing else.
class HealthServer {
 public:
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const std::string& listen);
  ~HealthServer();

  const std::string& address() const { return gate_->address(); }
  // NOT_SERVING until told otherwise.
  void SetServing(bool serving);

 private:
  HealthServer(std::unique_ptr<grpc::CallbackGenericService> nothing, std::unique_ptr<ConnectionGate> gate,
               std::unique_ptr<grpc::Server> server)
      : nothing_(std::move(nothing)), gate_(std::move(gate)), server_(std::move(server)) {}

  const std::unique_ptr<grpc::CallbackGenericService> nothing_;
  const std::unique_ptr<ConnectionGate> gate_;
  const std::unique_ptr<grpc::Server> server_;
};

// A connection of its own to `address`, which is tried again with growing, jittered pauses while it is in use.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const Security& security = *ProcessSecurity());

// Raises malloc's trim and mmap thresholds: message buffers are then reused instead of returned to the system, which
// doubles streaming throughput. To be called at the start of a process that streams.
void TuneAllocatorForStreaming();

}  // namespace headrace

#endif  // HEADRACE_COMMON_GRPC_SERVER_H_
