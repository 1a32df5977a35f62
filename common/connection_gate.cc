#include "common/connection_gate.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/refusals.h"

namespace headrace {
namespace {

// More than the processes of any run have, and at some 50 kB for each bearable.
constexpr size_t kMostConnections = 10'000;
constexpr size_t kOtherFiles = 128;
// How often it is counted anew, at most, which of very many connections are still there.
constexpr std::chrono::milliseconds kCountInterval{100};
constexpr int kPauseWithoutFilesMs = 100;
constexpr int kAttemptsToChoose = 10;  // a port

struct Address {
  std::string host;  // as it was given
  std::string name;  // without the brackets of IPv6
  uint16_t port;
};

absl::StatusOr<Address> Parse(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(listen.substr(colon + 1), &port) || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("expected HOST:PORT to listen on, got \"", listen, "\""));
  }
  const std::string host = listen.substr(0, colon);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return Address{host, brackets ? host.substr(1, host.size() - 2) : host, static_cast<uint16_t>(port)};
}

void SetOption(int socket, int level, int option, int value) {
  (void)::setsockopt(socket, level, option, &value, sizeof(value));
}

// The socket, or an error's number, negated. A port of 0 becomes the one that was chosen.
int ListenOn(const addrinfo& address, uint16_t& port) {
  const int socket = ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return -errno;
  // For a process that is started again on its port. Not the reuse of ports: two processes would share the connections.
  SetOption(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  SetOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);  // what is accepted inherits it
  sockaddr_storage bound;
  std::copy_n(reinterpret_cast<const char*>(address.ai_addr), address.ai_addrlen, reinterpret_cast<char*>(&bound));
  in_port_t& its_port = address.ai_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                                      : reinterpret_cast<sockaddr_in*>(&bound)->sin_port;
  its_port = htons(port);
  if (address.ai_family == AF_INET6) SetOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  socklen_t size = address.ai_addrlen;
  if (::bind(socket, reinterpret_cast<sockaddr*>(&bound), size) != 0 || ::listen(socket, SOMAXCONN) != 0 ||
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    const int error = errno;
    ::close(socket);
    return -error;
  }
  port = ntohs(its_port);
  return socket;
}

bool ComesEarlier(const addrinfo* addresses, const addrinfo& one) {
  for (; addresses != &one; addresses = addresses->ai_next) {
    if (addresses->ai_addrlen == one.ai_addrlen && std::memcmp(addresses->ai_addr, one.ai_addr, one.ai_addrlen) == 0) {
      return true;
    }
  }
  return false;
}

// On every address that the machine has of these; none if one of them cannot be had, for whoever comes by it would find
// somebody else. A port of 0 becomes the one that was chosen.
std::vector<int> ListenOnAll(const addrinfo* addresses, uint16_t& port) {
  std::vector<int> listeners;
  for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) {
    if (ComesEarlier(addresses, *address)) continue;
    const int socket = ListenOn(*address, port);
    if (socket >= 0) {
      listeners.push_back(socket);
    } else if (socket != -EADDRNOTAVAIL && socket != -EAFNOSUPPORT) {
      for (const int listener : listeners) ::close(listener);
      return {};
    }
  }
  return listeners;
}

std::string HostOf(const sockaddr_storage& peer, socklen_t size) {
  char host[NI_MAXHOST] = {};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&peer), size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST)) {
    return "";
  }
  return host;
}

}  // namespace

ConnectionLimits DefaultConnectionLimits() {
  rlimit files = {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const size_t total =
      std::clamp<size_t>(files.rlim_cur, 2 * kOtherFiles, kMostConnections + kOtherFiles) - kOtherFiles;
  return {.total = total, .per_host = total / 2};
}

void RaiseOpenFileLimit() {
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &files);
}

absl::StatusOr<std::unique_ptr<ConnectionGate>> ConnectionGate::Listen(const std::string& listen,
                                                                       ConnectionLimits limits) {
  absl::StatusOr<Address> wanted = Parse(listen);
  if (!wanted.ok()) return wanted.status();
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  std::vector<int> listeners;
  if (::getaddrinfo(wanted->name.c_str(), nullptr, &hints, &found) == 0) {
    // A name such as localhost may stand for several addresses, and a port that is free on one be taken on another.
    const uint16_t port = wanted->port;
    for (int attempt = 0; listeners.empty() && attempt < (port == 0 ? kAttemptsToChoose : 1); ++attempt) {
      wanted->port = port;
      listeners = ListenOnAll(found, wanted->port);
    }
    ::freeaddrinfo(found);
  }
  if (listeners.empty()) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen, ": the port is in use, or the address is not of this machine"));
  }
  return std::unique_ptr<ConnectionGate>(new ConnectionGate(absl::StrCat(wanted->host, ":", wanted->port),
                                                            std::move(listeners), ::eventfd(0, EFD_CLOEXEC), limits));
}

ConnectionGate::~ConnectionGate() {
  Close();
  for (const int listener : listeners_) ::close(listener);
  ::close(waker_);
}

void ConnectionGate::Open(std::unique_ptr<Acceptor> acceptor) {
  acceptor_ = std::move(acceptor);
  thread_ = std::thread([this] { Run(); });
}

void ConnectionGate::Close() {
  const uint64_t one = 1;
  (void)!::write(waker_, &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
  for (const int listener : listeners_) ::shutdown(listener, SHUT_RDWR);
}

void ConnectionGate::Run() {
  std::vector<pollfd> polled = {{.fd = waker_, .events = POLLIN, .revents = 0}};
  for (const int listener : listeners_) polled.push_back({.fd = listener, .events = POLLIN, .revents = 0});
  while (true) {
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;  // a signal
    if (polled[0].revents != 0) return;
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents != 0) Accept(polled[i].fd);
    }
  }
}

void ConnectionGate::Accept(int listener) {
  sockaddr_storage peer = {};
  socklen_t size = sizeof(peer);
  const int socket = ::accept4(listener, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket < 0) {
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;  // the peer has gone again
    pollfd waker = {.fd = waker_, .events = POLLIN, .revents = 0};
    (void)::poll(&waker, 1, kPauseWithoutFilesMs);  // others may close some
    return;
  }
  if (const auto earlier = connections_.find(socket); earlier != connections_.end()) Forget(earlier);
  const std::string host = HostOf(peer, size);
  struct stat file = {};
  if (!HasRoom(host) || ::fstat(socket, &file) != 0) {
    CountRefusal(Refusal::kConnection);
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    ::close(socket);
    return;
  }
  connections_[socket] = {file.st_ino, host};
  ++per_host_[host];
  Acceptor::NewConnectionParameters connection;
  connection.listener_fd = listener;
  connection.fd = socket;
  acceptor_->HandleNewConnection(&connection);
}

bool ConnectionGate::HasRoom(const std::string& host) {
  const auto fits = [&] {
    const auto its = per_host_.find(host);
    return connections_.size() < limits_.total && (its == per_host_.end() || its->second < limits_.per_host);
  };
  if (fits()) return true;
  const auto now = std::chrono::steady_clock::now();
  if (now - counted_anew_ < kCountInterval) return false;
  counted_anew_ = now;
  ForgetClosed();
  return fits();
}

// gRPC does not tell when it closes one.
void ConnectionGate::ForgetClosed() {
  for (auto connection = connections_.begin(); connection != connections_.end();) {
    const auto next = std::next(connection);
    struct stat file = {};
    if (::fstat(connection->first, &file) != 0 || file.st_ino != connection->second.socket) Forget(connection);
    connection = next;
  }
}

void ConnectionGate::Forget(std::map<int, Connection>::iterator connection) {
  const auto host = per_host_.find(connection->second.host);
  if (--host->second == 0) per_host_.erase(host);
  connections_.erase(connection);
}

}  // namespace headrace
