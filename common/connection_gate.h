// Accepts a server's connections, and no more than it can bear: gRPC itself takes as many as come, and when the process
// has no file descriptors left, it accepts none ever again.
//
//   ASSIGN_OR_RETURN(auto gate, ConnectionGate::Listen("127.0.0.1:0", ConnectionLimits()));
//   std::vector<std::unique_ptr<ConnectionGate::Acceptor>> acceptors;
//   acceptors.push_back(builder.experimental().AddExternalConnectionAcceptor(...));
//   ... build the server ...
//   gate->Open(std::move(acceptors), ConnectionGate::kHttp2);
//
// A connection is handed on when it has said something: all of another host to the same acceptor, which has no more
// hosts than the others when the first of them comes; each one of this machine to an acceptor by itself, which are
// others, as long as there are enough of them. Who is hung up on is counted: what is too much, at once
// (Refusal::kConnection); who says nothing in time (kSilence); who begins with something else than what is spoken here
// (kHandshake). gRPC itself would do all of that without a word. Not thread-safe; it has a thread of its own, by which
// the acceptor is called.
#ifndef HEADRACE_COMMON_CONNECTION_GATE_H_
#define HEADRACE_COMMON_CONNECTION_GATE_H_

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/refusals.h"
#include "grpcpp/server_builder.h"

namespace headrace {

struct ConnectionLimits {
  size_t total;
  size_t per_host;
  std::chrono::milliseconds first_bytes{10'000};  // until they must have come
};

// As many as the process may have files open, less what else it opens, which is no more than half of them; half of them
// of one host, so that no host can lock the others out.
ConnectionLimits DefaultConnectionLimits();
// Makes that as many as the system allows this process.
void RaiseOpenFileLimit();

class ConnectionGate {
 public:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

  // The first bytes of a connection: of HTTP/2 without encryption, and of whatever it is.
  static constexpr std::string_view kHttp2 = "PRI ", kAnything = "";

  // `listen` is HOST:PORT; port 0 takes a free one. INVALID_ARGUMENT: not of this form. UNAVAILABLE: the address cannot
  // be bound, or there are no files left (the message names the address and the cause).
  static absl::StatusOr<std::unique_ptr<ConnectionGate>> Listen(const std::string& listen, ConnectionLimits limits);
  // Closes.
  ~ConnectionGate();

  // HOST:PORT, with the port that was chosen.
  const std::string& address() const { return address_; }
  // Lets connections in from now on that begin with `opening`. `of_this_machine`: none, it is a host like the others.
  void Open(std::vector<std::unique_ptr<Acceptor>> acceptors, std::string_view opening,
            std::vector<std::unique_ptr<Acceptor>> of_this_machine = {});
  // Stops listening, and hangs up on who waits; connections that were let in stay. May be repeated.
  void Close();

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Connection {
    ino_t socket;  // the file of that number may be another one by now
    std::string host;
    bool by_itself;  // dealt so, and not with its host
    Acceptor* acceptor;
    int listener;
    bool waiting;  // for its first bytes
  };
  struct Host {
    Acceptor* acceptor = nullptr;  // null: none of its connections has been dealt with it
    size_t connections = 0;
  };
  struct Deadline {
    Time time;
    int connection;
    ino_t socket;
  };

  ConnectionGate(std::string address, std::vector<int> listeners, int waker, int polled, ConnectionLimits limits);
  void Run();
  int MillisecondsLeft() const;
  void Accept(int listener);
  void Hear(int socket);
  void EndSilence();
  void Refuse(std::map<int, Connection>::iterator connection, Refusal refusal);
  // Hangs up on one that waits.
  void End(std::map<int, Connection>::iterator connection);
  bool HasRoom(const std::string& host);
  // The one of these that the fewest share.
  Acceptor* Choose(const std::vector<std::unique_ptr<Acceptor>>& acceptors);
  // Which connections are still there.
  void CountAnew();
  void Forget(std::map<int, Connection>::iterator connection);

  const std::string address_;
  const std::vector<int> listeners_;
  const int waker_;   // an eventfd: the thread is to end
  const int polled_;  // an epoll of that, the listeners, and connections that wait
  const ConnectionLimits limits_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_of_this_machine_;
  std::string_view opening_;
  std::thread thread_;

  // Of the thread alone.
  std::map<int, Connection> connections_;  // by file descriptor
  std::map<std::string, Host> hosts_;
  std::deque<Deadline> deadlines_;  // the earliest first; connections that wait no more may be among them
  std::chrono::steady_clock::time_point counted_anew_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONNECTION_GATE_H_
