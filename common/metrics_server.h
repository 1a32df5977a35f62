// The HTTP endpoint of a process' metrics, for Prometheus to scrape: GET /metrics. Another path is 404, another method
// 405.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<MetricsServer> server, MetricsServer::Start("127.0.0.1:0", registry));
//   Log("metrics on http://%s/metrics", server->address());
//
// Behind a gate (common/connection_gate.h): who asks nothing costs no thread, keeps no other host from asking and is
// hung up on in time, as is who does not finish his question; who does not speak HTTP/1, at once. Serves from threads
// of its own until destroyed. Destroy it before the registry.
#ifndef HEADRACE_COMMON_METRICS_SERVER_H_
#define HEADRACE_COMMON_METRICS_SERVER_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/connection_gate.h"
#include "common/metrics.h"

namespace headrace {

struct MetricsServerLimits {
  // A thread for each that has begun to ask.
  ConnectionLimits connections = {.total = 64, .per_host = 48, .first_bytes = std::chrono::milliseconds(2'000)};
  // From then on until the question is complete.
  std::chrono::milliseconds request{2'000};
};

class MetricsServer {
 public:
  // `listen` is HOST:PORT, HOST an address of this machine, [::1] with brackets, or localhost. Port 0 takes a free one.
  // INVALID_ARGUMENT: not of this form. UNAVAILABLE: the gate's (the message names the address and the cause).
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen, const MetricRegistry& registry,
                                                              const MetricsServerLimits& limits = {});
  ~MetricsServer();

  // HOST:PORT with the port that was chosen.
  const std::string& address() const { return gate_->address(); }

 private:
  class Connections;
  class Acceptor;
  MetricsServer(std::unique_ptr<ConnectionGate> gate, std::unique_ptr<Connections> connections);

  const std::unique_ptr<Connections> connections_;
  const std::unique_ptr<ConnectionGate> gate_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_METRICS_SERVER_H_
