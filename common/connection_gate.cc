#include "common/connection_gate.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace headrace {
namespace {

// More than the processes of any run have, and at some 50 kB for each bearable.
constexpr size_t kMostConnections = 10'000;
// The connections to the ports of metrics and health, 128 at most, and what the process opens itself.
constexpr size_t kOtherFiles = 256;
// How often it is counted anew, at most, which of very many connections are still there.
constexpr std::chrono::milliseconds kCountInterval{100};
constexpr int kPauseWithoutFilesMs = 100;
constexpr int kAttemptsToChoose = 10;  // a port
// Of whatever is spoken. The kernel wakes the gate when so many are there, so that they are looked at once.
constexpr size_t kOpeningBytes = 4;

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
// somebody else: `error` then says why. A port of 0 becomes the one that was chosen.
std::vector<int> ListenOnAll(const addrinfo* addresses, uint16_t& port, int& error) {
  std::vector<int> listeners;
  for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) {
    if (ComesEarlier(addresses, *address)) continue;
    const int socket = ListenOn(*address, port);
    if (socket >= 0) {
      listeners.push_back(socket);
      continue;
    }
    error = -socket;
    if (error != EADDRNOTAVAIL && error != EAFNOSUPPORT) {
      for (const int listener : listeners) ::close(listener);
      return {};
    }
  }
  return listeners;
}

absl::Status CannotListen(const std::string& listen, int error) {
  const bool taken = error == EADDRINUSE || error == EADDRNOTAVAIL;
  return absl::UnavailableError(absl::StrCat(
      "cannot listen on ", listen, ": ",
      taken ? "the port is in use, or the address is not of this machine; name another, or port 0 for a free one"
            : std::strerror(error)));
}

// As `listen` says, which was parsed to `wanted`. A port of 0 becomes the one that was chosen.
absl::StatusOr<std::vector<int>> Bind(const std::string& listen, Address& wanted) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int unknown = ::getaddrinfo(wanted.name.c_str(), nullptr, &hints, &found);
  if (unknown == EAI_SYSTEM) return CannotListen(listen, errno);
  if (unknown != 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", listen, ": ", ::gai_strerror(unknown)));
  }
  // A name such as localhost may stand for several addresses, and a port that is free on one be taken on another.
  std::vector<int> listeners;
  int error = 0;
  const uint16_t port = wanted.port;
  for (int attempt = 0; listeners.empty() && attempt < (port == 0 ? kAttemptsToChoose : 1); ++attempt) {
    wanted.port = port;
    listeners = ListenOnAll(found, wanted.port, error);
  }
  ::freeaddrinfo(found);
  if (listeners.empty()) return CannotListen(listen, error);
  return listeners;
}

void Watch(int polled, int file) {
  epoll_event event = {.events = EPOLLIN, .data = {.fd = file}};
  (void)::epoll_ctl(polled, EPOLL_CTL_ADD, file, &event);
}

void HangUp(int socket) {
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  ::close(socket);
}

std::string HostOf(const sockaddr_storage& peer, socklen_t size) {
  char host[NI_MAXHOST] = {};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&peer), size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST)) {
    return "";
  }
  return host;
}

// Whether the peer calls by the address by which it is called, whatever that is.
bool IsOfThisMachine(int socket, const std::string& host) {
  sockaddr_storage here = {};
  socklen_t size = sizeof(here);
  return ::getsockname(socket, reinterpret_cast<sockaddr*>(&here), &size) == 0 && HostOf(here, size) == host;
}

}  // namespace

ConnectionLimits DefaultConnectionLimits() {
  rlimit files = {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const size_t others = std::min<size_t>(kOtherFiles, files.rlim_cur / 2);
  const size_t total = std::min<size_t>(files.rlim_cur - others, kMostConnections);
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
  absl::StatusOr<std::vector<int>> listeners = Bind(listen, *wanted);
  if (!listeners.ok()) return listeners.status();
  const int waker = ::eventfd(0, EFD_CLOEXEC);
  const int polled = waker < 0 ? -1 : ::epoll_create1(EPOLL_CLOEXEC);
  const int error = errno;
  std::unique_ptr<ConnectionGate> gate(
      new ConnectionGate(absl::StrCat(wanted->host, ":", wanted->port), *std::move(listeners), waker, polled, limits));
  if (polled < 0) return CannotListen(listen, error);
  return gate;
}

ConnectionGate::ConnectionGate(std::string address, std::vector<int> listeners, int waker, int polled,
                               ConnectionLimits limits)
    : address_(std::move(address)), listeners_(std::move(listeners)), waker_(waker), polled_(polled), limits_(limits) {
  Watch(polled_, waker_);
  for (const int listener : listeners_) Watch(polled_, listener);
}

ConnectionGate::~ConnectionGate() {
  Close();
  for (const int listener : listeners_) ::close(listener);
  ::close(polled_);
  ::close(waker_);
}

void ConnectionGate::Open(std::vector<std::unique_ptr<Acceptor>> acceptors, std::string_view opening,
                          std::vector<std::unique_ptr<Acceptor>> of_this_machine) {
  acceptors_ = std::move(acceptors);
  acceptors_of_this_machine_ = std::move(of_this_machine);
  opening_ = opening;
  thread_ = std::thread([this] { Run(); });
}

void ConnectionGate::Close() {
  const uint64_t one = 1;
  (void)!::write(waker_, &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
  for (const int listener : listeners_) ::shutdown(listener, SHUT_RDWR);
  for (auto connection = connections_.begin(); connection != connections_.end();) {
    const auto next = std::next(connection);
    if (connection->second.waiting) End(connection);
    connection = next;
  }
}

void ConnectionGate::Run() {
  std::array<epoll_event, 64> ready;
  while (true) {
    const int count = ::epoll_wait(polled_, ready.data(), static_cast<int>(ready.size()), MillisecondsLeft());
    for (int i = 0; i < count; ++i) {
      const int file = ready[i].data.fd;
      if (file == waker_) return;
      if (std::find(listeners_.begin(), listeners_.end(), file) != listeners_.end()) {
        Accept(file);
      } else {
        Hear(file);
      }
    }
    EndSilence();
  }
}

int ConnectionGate::MillisecondsLeft() const {
  if (deadlines_.empty()) return -1;
  const auto left = deadlines_.front().time - std::chrono::steady_clock::now();
  return static_cast<int>(std::max<int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(left).count()));
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
    CountRefusal(Refusal::kConnection, host);
    return HangUp(socket);
  }
  SetOption(socket, SOL_SOCKET, SO_RCVLOWAT, kOpeningBytes);
  const bool by_itself = !acceptors_of_this_machine_.empty() && IsOfThisMachine(socket, host);
  Acceptor* acceptor = by_itself ? Choose(acceptors_of_this_machine_) : hosts_[host].acceptor;
  if (acceptor == nullptr) acceptor = hosts_[host].acceptor = Choose(acceptors_);
  connections_[socket] = {file.st_ino, host, by_itself, acceptor, listener, /*waiting=*/true};
  ++hosts_[host].connections;
  deadlines_.push_back({std::chrono::steady_clock::now() + limits_.first_bytes, socket, file.st_ino});
  Watch(polled_, socket);
}

void ConnectionGate::Hear(int socket) {
  const auto connection = connections_.find(socket);
  if (connection == connections_.end() || !connection->second.waiting) return;
  std::array<char, kOpeningBytes> bytes;
  const ssize_t size = ::recv(socket, bytes.data(), bytes.size(), MSG_PEEK);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) return End(connection);  // the peer has gone by itself
  const std::string_view begin(bytes.data(), static_cast<size_t>(size));
  if (size < static_cast<ssize_t>(kOpeningBytes) || !begin.starts_with(opening_)) {
    return Refuse(connection, Refusal::kHandshake);
  }
  connection->second.waiting = false;
  (void)::epoll_ctl(polled_, EPOLL_CTL_DEL, socket, nullptr);
  SetOption(socket, SOL_SOCKET, SO_RCVLOWAT, 1);
  Acceptor::NewConnectionParameters handed_on;
  handed_on.listener_fd = connection->second.listener;
  handed_on.fd = socket;
  connection->second.acceptor->HandleNewConnection(&handed_on);
}

void ConnectionGate::EndSilence() {
  const Time now = std::chrono::steady_clock::now();
  while (!deadlines_.empty() && deadlines_.front().time <= now) {
    const Deadline over = deadlines_.front();
    deadlines_.pop_front();
    const auto connection = connections_.find(over.connection);
    if (connection == connections_.end() || connection->second.socket != over.socket) continue;
    if (connection->second.waiting) Refuse(connection, Refusal::kSilence);
  }
}

void ConnectionGate::Refuse(std::map<int, Connection>::iterator connection, Refusal refusal) {
  CountRefusal(refusal, connection->second.host);
  End(connection);
}

void ConnectionGate::End(std::map<int, Connection>::iterator connection) {
  (void)::epoll_ctl(polled_, EPOLL_CTL_DEL, connection->first, nullptr);
  HangUp(connection->first);
  Forget(connection);
}

bool ConnectionGate::HasRoom(const std::string& host) {
  const auto fits = [&] {
    const auto its = hosts_.find(host);
    return connections_.size() < limits_.total && (its == hosts_.end() || its->second.connections < limits_.per_host);
  };
  if (fits()) return true;
  CountAnew();
  return fits();
}

ConnectionGate::Acceptor* ConnectionGate::Choose(const std::vector<std::unique_ptr<Acceptor>>& acceptors) {
  if (acceptors.size() == 1) return acceptors.front().get();
  CountAnew();  // who has gone must not count
  std::map<const Acceptor*, size_t> shared_by;
  for (const auto& [name, host] : hosts_) ++shared_by[host.acceptor];
  for (const auto& [socket, connection] : connections_) {
    if (connection.by_itself) ++shared_by[connection.acceptor];
  }
  const auto fewer = [&](const auto& a, const auto& b) { return shared_by[a.get()] < shared_by[b.get()]; };
  return std::min_element(acceptors.begin(), acceptors.end(), fewer)->get();
}

// gRPC does not tell when it closes one.
void ConnectionGate::CountAnew() {
  const auto now = std::chrono::steady_clock::now();
  if (now - counted_anew_ < kCountInterval) return;
  counted_anew_ = now;
  for (auto connection = connections_.begin(); connection != connections_.end();) {
    const auto next = std::next(connection);
    struct stat file = {};
    if (::fstat(connection->first, &file) != 0 || file.st_ino != connection->second.socket) Forget(connection);
    connection = next;
  }
}

void ConnectionGate::Forget(std::map<int, Connection>::iterator connection) {
  const auto host = hosts_.find(connection->second.host);
  if (--host->second.connections == 0) hosts_.erase(host);
  connections_.erase(connection);
}

}  // namespace headrace
