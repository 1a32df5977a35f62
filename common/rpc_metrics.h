// Counts the calls that a gRPC server has ended, by method and by how they ended: headrace_rpc_ended_total{method,
// code}, and those that have come to the process and not to a service: headrace_rpc_unheard_calls.
//
//   RpcMetrics rpcs(registry);
//   ASSIGN_OR_RETURN(std::unique_ptr<GrpcServer> server, GrpcServer::Start(listen, services, &rpcs));
//
// A stream is one call, counted once, when its end has come to the client or the client is gone. A call that is cut off
// has the code that the service gave, or CANCELLED if that was none or, in a callback call, OK. A unary call is heard
// of when its request is there: what gRPC refuses before, because of the request's size, stays among the unheard. A
// call without an accepted token is in neither of the two, but in headrace_grpc_refusals_total (common/refusals.h).
// What a client can do to the metrics is bounded: methods of which the program has no description are one, "other".
//
// Thread-safe. Must outlive the server.
#ifndef HEADRACE_COMMON_RPC_METRICS_H_
#define HEADRACE_COMMON_RPC_METRICS_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "common/metrics.h"
#include "grpcpp/support/server_interceptor.h"

namespace headrace {

class RpcMetrics {
 public:
  // One in a process. `registry` must outlive this.
  explicit RpcMetrics(MetricRegistry& registry);

  // For the server's builder.
  std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> Factory() const;

 private:
  const CounterFamily ended_;
  const std::shared_ptr<std::atomic<int64_t>> heard_;  // calls that an interceptor was made for
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_RPC_METRICS_H_
