// Counts the calls that a gRPC server has ended, by method and by how they ended: headrace_rpc_ended_total{method,
// code}.
//
//   RpcMetrics rpcs(registry);
//   ASSIGN_OR_RETURN(std::unique_ptr<GrpcServer> server, GrpcServer::Start(listen, services, &rpcs));
//
// A stream is one call. Only methods that the server has are counted, and a call is counted once, at its end: both keep
// what a client can do to the metrics bounded.
//
// Thread-safe. Must outlive the server.
#ifndef HEADRACE_COMMON_RPC_METRICS_H_
#define HEADRACE_COMMON_RPC_METRICS_H_

#include <memory>

#include "common/metrics.h"
#include "grpcpp/support/server_interceptor.h"

namespace headrace {

class RpcMetrics {
 public:
  // `registry` must outlive this.
  explicit RpcMetrics(MetricRegistry& registry);

  // For the server's builder.
  std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> Factory() const;

 private:
  const CounterFamily ended_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_RPC_METRICS_H_
