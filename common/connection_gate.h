// Accepts a server's connections, and no more than it can bear: gRPC itself takes as many as come, and when the process
// has no file descriptors left, it accepts none ever again.
//
//   ASSIGN_OR_RETURN(auto gate, ConnectionGate::Listen("127.0.0.1:0", ConnectionLimits()));
//   auto acceptor = builder.experimental().AddExternalConnectionAcceptor(...);
//   ... build the server ...
//   gate->Open(std::move(acceptor));
//
// What is too much is hung up on at once and counted (Refusal::kConnection). Thread-safe, but for construction,
// destruction and Open.
#ifndef HEADRACE_COMMON_CONNECTION_GATE_H_
#define HEADRACE_COMMON_CONNECTION_GATE_H_

#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/server_builder.h"

namespace headrace {

struct ConnectionLimits {
  size_t total;
  size_t per_host;
};

// As many as the process may have files open, less what else it opens; half of them of one host, so that no host can
// lock the others out.
ConnectionLimits DefaultConnectionLimits();
// Makes that as many as the system allows this process.
void RaiseOpenFileLimit();

class ConnectionGate {
 public:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

  // `listen` is HOST:PORT; port 0 takes a free one. INVALID_ARGUMENT: not of this form. UNAVAILABLE: the address cannot
  // be bound (the message names it).
  static absl::StatusOr<std::unique_ptr<ConnectionGate>> Listen(const std::string& listen, ConnectionLimits limits);
  // Closes.
  ~ConnectionGate();

  // HOST:PORT, with the port that was chosen.
  const std::string& address() const { return address_; }
  // Lets connections in from now on.
  void Open(std::unique_ptr<Acceptor> acceptor);
  // Stops listening; connections that are there stay. May be repeated.
  void Close();

 private:
  struct Connection {
    ino_t socket;  // the file of that number may be another one by now
    std::string host;
  };

  ConnectionGate(std::string address, std::vector<int> listeners, int waker, ConnectionLimits limits)
      : address_(std::move(address)), listeners_(std::move(listeners)), waker_(waker), limits_(limits) {}
  void Run();
  void Accept(int listener);
  bool HasRoom(const std::string& host);
  void ForgetClosed();
  void Forget(std::map<int, Connection>::iterator connection);

  const std::string address_;
  const std::vector<int> listeners_;
  const int waker_;  // an eventfd: the thread is to end
  const ConnectionLimits limits_;
  std::unique_ptr<Acceptor> acceptor_;
  std::thread thread_;

  // Of the thread alone.
  std::map<int, Connection> connections_;  // by file descriptor
  std::map<std::string, size_t> per_host_;
  std::chrono::steady_clock::time_point counted_anew_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONNECTION_GATE_H_
