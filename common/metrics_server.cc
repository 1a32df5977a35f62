#include "common/metrics_server.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <future>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "prometheus/exposer.h"

namespace headrace {
namespace {

// Others wait in the kernel until one of these is done, and one that asks nothing is hung up on in time.
constexpr char kThreads[] = "4";
constexpr char kWaitingConnections[] = "16";
constexpr char kRequestMs[] = "2000";
constexpr char kMaxRequestBytes[] = "8192";  // its headers, too

// Connects once and hangs up.
void Knock(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found) != 0) return;
  const int socket = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket >= 0) {
    (void)::connect(socket, found->ai_addr, found->ai_addrlen);
    ::close(socket);
  }
  ::freeaddrinfo(found);
}

}  // namespace

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
  const std::string ip = host == "localhost" ? "127.0.0.1" : host;
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(
        std::vector<std::string>{"listening_ports", absl::StrCat(ip, ":", port), "enable_keep_alive", "no",
                                 "num_threads", kThreads, "connection_queue", kWaitingConnections, "request_timeout_ms",
                                 kRequestMs, "max_request_size", kMaxRequestBytes});
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot serve metrics on ", listen,
                                               ": the port is in use, or the address is not of this machine; "
                                               "name another in --metrics_listen, or port 0 for a free one"));
  }
  for (const auto& collectable : registry.collectables()) exposer->RegisterCollectable(collectable);
  const std::vector<int> ports = exposer->GetListeningPorts();
  const int chosen = ports.empty() ? static_cast<int>(port) : ports.front();
  return std::unique_ptr<MetricsServer>(
      new MetricsServer(absl::StrCat(host, ":", chosen), absl::StrCat(ip, ":", chosen), std::move(exposer)));
}

MetricsServer::MetricsServer(std::string address, std::string bound, std::unique_ptr<prometheus::Exposer> exposer)
    : address_(std::move(address)), bound_(std::move(bound)), exposer_(std::move(exposer)) {}

MetricsServer::~MetricsServer() {
  // The web server looks for the wish to stop when a connection comes, or else every two seconds, which is long for a
  // process that is told to end.
  std::future<void> stopped = std::async(std::launch::async, [this] { exposer_.reset(); });
  while (stopped.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) Knock(bound_);
}

}  // namespace headrace
