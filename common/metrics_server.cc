#include "common/metrics_server.h"

#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "prometheus/exposer.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    const MetricRegistry& registry) {
  const size_t colon = listen.rfind(':');
  uint32_t port = 0;
  // The web server would take a comma for a second address.
  if (colon == std::string::npos || colon == 0 || listen.find(',') != std::string::npos ||
      !absl::SimpleAtoi(listen.substr(colon + 1), &port) || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("expected HOST:PORT for metrics, got \"", listen, "\""));
  }
  const std::string host = listen.substr(0, colon);
  // The web server resolves no names.
  const std::string bound = absl::StrCat(host == "localhost" ? "127.0.0.1" : host, ":", port);
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", bound, "num_threads", "2", "enable_keep_alive", "no", "request_timeout_ms", "10000"});
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot serve metrics on ", listen,
                                               ": the port is in use, or the address is not of this machine"));
  }
  for (const auto& collectable : registry.collectables()) exposer->RegisterCollectable(collectable);
  const std::vector<int> ports = exposer->GetListeningPorts();
  std::string address = absl::StrCat(host, ":", ports.empty() ? static_cast<int>(port) : ports.front());
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(address), std::move(exposer)));
}

MetricsServer::MetricsServer(std::string address, std::unique_ptr<prometheus::Exposer> exposer)
    : address_(std::move(address)), exposer_(std::move(exposer)) {}

MetricsServer::~MetricsServer() = default;

}  // namespace headrace
