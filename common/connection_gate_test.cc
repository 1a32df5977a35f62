// The gate by itself: who accepts its connections only counts them.
#include "common/connection_gate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Keeps what it is given until it is told to hang up, and says so to the peer with a byte.
class Accepted {
 public:
  ~Accepted() { HangUp(); }
  void Add(int socket) {
    MutexLock lock(&mutex_);
    sockets_.push_back(socket);
    EXPECT_EQ(::send(socket, "!", 1, MSG_NOSIGNAL), 1);
  }
  void HangUp() {
    MutexLock lock(&mutex_);
    for (const int socket : std::exchange(sockets_, {})) ::close(socket);
  }

 private:
  Mutex mutex_;
  std::vector<int> sockets_ ABSL_GUARDED_BY(mutex_);
};

class CountingAcceptor final : public ConnectionGate::Acceptor {
 public:
  explicit CountingAcceptor(Accepted* accepted) : accepted_(accepted) {}
  void HandleNewConnection(NewConnectionParameters* connection) override { accepted_->Add(connection->fd); }

 private:
  Accepted* const accepted_;
};

sockaddr_in Address(const std::string& host, int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  EXPECT_EQ(::inet_pton(AF_INET, host.c_str(), &address.sin_addr), 1);
  return address;
}

// A peer that connects from an address of this machine.
class Peer {
 public:
  Peer(const ConnectionGate& gate, const std::string& from) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const sockaddr_in local = Address(from, 0);
    const sockaddr_in server = Address("127.0.0.1", std::stoi(gate.address().substr(gate.address().rfind(':') + 1)));
    EXPECT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&local), sizeof(local)), 0);
    connected_ = ::connect(socket_, reinterpret_cast<const sockaddr*>(&server), sizeof(server)) == 0;
  }
  ~Peer() { ::close(socket_); }
  // Whether it was let in, once that is decided.
  bool LetIn() const {
    char byte;
    return connected_ && ::recv(socket_, &byte, 1, 0) == 1;
  }

 private:
  const int socket_;
  bool connected_ = false;
};

class ConnectionGateTest : public testing::Test {
 protected:
  void Open(const ConnectionLimits& limits) {
    absl::StatusOr<std::unique_ptr<ConnectionGate>> gate = ConnectionGate::Listen("127.0.0.1:0", limits);
    ASSERT_TRUE(gate.ok()) << gate.status();
    gate_ = *std::move(gate);
    gate_->Open(std::make_unique<CountingAcceptor>(&accepted_));
  }
  // Each of them in turn, so that it is known who comes first.
  bool LetIn(const std::string& from) {
    peers_.push_back(std::make_unique<Peer>(*gate_, from));
    return peers_.back()->LetIn();
  }

  Accepted accepted_;
  std::unique_ptr<ConnectionGate> gate_;
  std::vector<std::unique_ptr<Peer>> peers_;
};

TEST_F(ConnectionGateTest, NoHostHasMoreThanItsShare) {
  Open({.total = 100, .per_host = 2});
  EXPECT_TRUE(LetIn("127.0.0.2"));
  EXPECT_TRUE(LetIn("127.0.0.2"));
  EXPECT_FALSE(LetIn("127.0.0.2"));
  EXPECT_TRUE(LetIn("127.0.0.3"));
}

TEST_F(ConnectionGateTest, AllHostsTogetherHaveNoMoreThanThereIs) {
  Open({.total = 3, .per_host = 2});
  EXPECT_TRUE(LetIn("127.0.0.2"));
  EXPECT_TRUE(LetIn("127.0.0.3"));
  EXPECT_TRUE(LetIn("127.0.0.4"));
  EXPECT_FALSE(LetIn("127.0.0.5"));
}

TEST_F(ConnectionGateTest, RoomOfConnectionsThatAreClosedIsFound) {
  Open({.total = 1, .per_host = 1});
  EXPECT_TRUE(LetIn("127.0.0.2"));
  accepted_.HangUp();
  while (!Peer(*gate_, "127.0.0.3").LetIn()) {  // it looks for them now and then
  }
}

TEST_F(ConnectionGateTest, LetsNobodyInOnceItIsClosed) {
  Open({.total = 3, .per_host = 3});
  ASSERT_TRUE(LetIn("127.0.0.2"));
  gate_->Close();
  EXPECT_FALSE(LetIn("127.0.0.2"));
  gate_->Close();
}

TEST_F(ConnectionGateTest, SaysWhereItListensAndWhyItCannot) {
  Open({.total = 1, .per_host = 1});
  EXPECT_THAT(gate_->address(), StartsWith("127.0.0.1:"));
  const absl::Status taken = ConnectionGate::Listen(gate_->address(), {.total = 1, .per_host = 1}).status();
  EXPECT_TRUE(absl::IsUnavailable(taken)) << taken;
  EXPECT_THAT(std::string(taken.message()), HasSubstr(gate_->address()));
  for (const std::string listen : {"127.0.0.1", ":4000", "127.0.0.1:65536", "127.0.0.1:"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ConnectionGate::Listen(listen, {.total = 1, .per_host = 1}).status()))
        << listen;
  }
}

}  // namespace
}  // namespace headrace
