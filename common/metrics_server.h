// The HTTP endpoint of a process' metrics, for Prometheus to scrape: GET /metrics.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<MetricsServer> server, MetricsServer::Start("127.0.0.1:0", registry));
//   Log("metrics on http://%s/metrics", server->address());
//
// Serves from threads of its own until destroyed. Destroy it before the registry.
#ifndef HEADRACE_COMMON_METRICS_SERVER_H_
#define HEADRACE_COMMON_METRICS_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/metrics.h"

namespace prometheus {
class Exposer;
}

namespace headrace {

class MetricsServer {
 public:
  // `listen` is HOST:PORT, HOST an address of this machine, [::1] with brackets, or localhost. Port 0 takes a free one.
  // INVALID_ARGUMENT: not of this form. UNAVAILABLE: the address cannot be bound (the message names it).
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen,
                                                              const MetricRegistry& registry);
  ~MetricsServer();

  // HOST:PORT with the port that was chosen.
  const std::string& address() const { return address_; }

 private:
  MetricsServer(std::string address, std::string bound, std::unique_ptr<prometheus::Exposer> exposer);

  const std::string address_;
  const std::string bound_;  // the same, the host by number
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_METRICS_SERVER_H_
