#include "common/metrics_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/mutex.h"
#include "common/refusals.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kAnswerTime{10};
constexpr size_t kMaxRequestBytes = 8 << 10;  // its headers, too

// False: not in time.
bool WaitUntil(int socket, short events, Clock::time_point deadline) {
  pollfd polled = {.fd = socket, .events = events, .revents = 0};
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    const int ready = ::poll(&polled, 1, static_cast<int>(left));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

// After a recv or send that has failed.
bool MayTryAgain() { return errno == EAGAIN || errno == EINTR; }

// Whether this is the beginning of a question, as far as it has come: METHOD PATH HTTP/1.x.
bool IsHttp(absl::string_view request) {
  const absl::string_view method = request.substr(0, request.find(' '));
  const absl::string_view line = request.substr(0, request.find('\n'));
  return !method.empty() && std::all_of(method.begin(), method.end(), absl::ascii_isupper) &&
         (line.size() == request.size() || line.find(" HTTP/1.") != line.npos);
}

// Up to the empty line after the headers; empty if the peer has gone, or is refused.
std::string ReadRequest(int socket, Clock::time_point deadline) {
  std::string request;
  char buffer[4096];
  while (true) {
    if (!WaitUntil(socket, POLLIN, deadline)) {
      CountRefusal(Refusal::kSilence);
      return "";
    }
    const ssize_t size = ::recv(socket, buffer, sizeof(buffer), 0);
    if (size < 0 && MayTryAgain()) continue;
    if (size <= 0) return "";
    request.append(buffer, static_cast<size_t>(size));
    const bool too_long = request.size() > kMaxRequestBytes;
    if (too_long || !IsHttp(request)) {
      CountRefusal(too_long ? Refusal::kSize : Refusal::kHandshake);
      return "";
    }
    if (request.find("\r\n\r\n") != std::string::npos) return request;
  }
}

void Write(int socket, absl::string_view answer) {
  const Clock::time_point deadline = Clock::now() + kAnswerTime;
  while (!answer.empty() && WaitUntil(socket, POLLOUT, deadline)) {
    const ssize_t size = ::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL);
    if (size < 0 && MayTryAgain()) continue;
    if (size <= 0) return;
    answer.remove_prefix(static_cast<size_t>(size));
  }
}

// `status` may bring further headers.
std::string Answer(absl::string_view status, absl::string_view body = "") {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
                      "Content-Length: ", body.size(), "\r\nConnection: close\r\n\r\n", body);
}

// To a request that IsHttp.
std::string AnswerTo(absl::string_view request, const MetricRegistry& registry) {
  const size_t path = request.find(' ') + 1;
  if (request.substr(path, request.find_first_of(" ?", path) - path) != "/metrics") {
    return Answer("404 Not Found", "the metrics are at /metrics\n");
  }
  if (request.substr(0, path) != "GET ") return Answer("405 Method Not Allowed\r\nAllow: GET");
  return Answer("200 OK", registry.Text());
}

}  // namespace

class MetricsServer::Connections {
 public:
  Connections(const MetricRegistry* registry, std::chrono::milliseconds request_time)
      : registry_(registry), request_time_(request_time) {}

  void Add(int socket) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    try {
      std::thread([this, socket] { Serve(socket); }).detach();
      sockets_.insert(socket);
    } catch (const std::system_error&) {  // no more threads
      ::close(socket);
    }
  }

  // Returns when there are none any more; none may be added from now on.
  void End() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    while (!sockets_.empty()) fewer_.Wait(&mutex_);
  }

 private:
  void Serve(int socket) ABSL_LOCKS_EXCLUDED(mutex_) {
    const std::string request = ReadRequest(socket, Clock::now() + request_time_);
    if (!request.empty()) Write(socket, AnswerTo(request, *registry_));
    MutexLock lock(&mutex_);
    sockets_.erase(socket);
    ::close(socket);
    fewer_.NotifyAll();
  }

  const MetricRegistry* const registry_;
  const std::chrono::milliseconds request_time_;
  Mutex mutex_;
  ConditionVariable fewer_;
  std::set<int> sockets_ ABSL_GUARDED_BY(mutex_);
};

class MetricsServer::Acceptor final : public ConnectionGate::Acceptor {
 public:
  explicit Acceptor(Connections* connections) : connections_(connections) {}
  void HandleNewConnection(NewConnectionParameters* connection) override { connections_->Add(connection->fd); }

 private:
  Connections* const connections_;
};

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    const MetricRegistry& registry,
                                                                    const MetricsServerLimits& limits) {
  ASSIGN_OR_RETURN(std::unique_ptr<ConnectionGate> gate, ConnectionGate::Listen(listen, limits.connections));
  return std::unique_ptr<MetricsServer>(
      new MetricsServer(std::move(gate), std::make_unique<Connections>(&registry, limits.request)));
}

MetricsServer::MetricsServer(std::unique_ptr<ConnectionGate> gate, std::unique_ptr<Connections> connections)
    : connections_(std::move(connections)), gate_(std::move(gate)) {
  std::vector<std::unique_ptr<ConnectionGate::Acceptor>> acceptors;
  acceptors.push_back(std::make_unique<Acceptor>(connections_.get()));
  gate_->Open(std::move(acceptors), ConnectionGate::kAnything);
}

MetricsServer::~MetricsServer() {
  gate_->Close();
  connections_->End();
}

}  // namespace headrace
