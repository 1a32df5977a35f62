// The gate by itself: who accepts its connections only counts them.
#include "common/connection_gate.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/refusals.h"
#include "common/test_peer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// While an object of this class is there, the process may have no more files open than this.
class OpenFileLimit {
 public:
  explicit OpenFileLimit(rlim_t most) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit now = {.rlim_cur = most, .rlim_max = before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &now), 0);
  }
  ~OpenFileLimit() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_;
};

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
  size_t size() {
    MutexLock lock(&mutex_);
    return sockets_.size();
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

class ConnectionGateTest : public testing::Test {
 protected:
  void Open(const ConnectionLimits& limits, std::vector<Accepted*> others = {}, std::vector<Accepted*> local = {},
            const std::string& listen = "127.0.0.1:0") {
    absl::StatusOr<std::unique_ptr<ConnectionGate>> gate = ConnectionGate::Listen(listen, limits);
    ASSERT_TRUE(gate.ok()) << gate.status();
    gate_ = *std::move(gate);
    std::vector<std::unique_ptr<ConnectionGate::Acceptor>> acceptors, of_this_machine;
    acceptors.push_back(std::make_unique<CountingAcceptor>(&accepted_));
    for (Accepted* const other : others) acceptors.push_back(std::make_unique<CountingAcceptor>(other));
    for (Accepted* const one : local) of_this_machine.push_back(std::make_unique<CountingAcceptor>(one));
    gate_->Open(std::move(acceptors), ConnectionGate::kHttp2, std::move(of_this_machine));
  }
  // Each of them in turn, so that it is known who comes first.
  bool LetIn(const char* from, std::string_view says = "PRI *") { return LetInAt(gate_->address(), from, says); }
  bool LetInAt(const std::string& address, const char* from, std::string_view says = "PRI *") {
    peers_.push_back(std::make_unique<TestPeer>(address, from));
    peers_.back()->Send(says);
    return peers_.back()->Answered();
  }
  bool Counted(const std::string& reason, int times) const {
    return absl::StrContains(registry_.Text(),
                             absl::StrCat("headrace_grpc_refusals_total{reason=\"", reason, "\"} ", times, "\n"));
  }

  MetricRegistry registry_{"test"};
  RefusalCounters refusals_{registry_};
  Accepted accepted_;
  std::unique_ptr<ConnectionGate> gate_;
  std::vector<std::unique_ptr<TestPeer>> peers_;
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

TEST_F(ConnectionGateTest, HostsAreDealtAmongTheAcceptors) {
  Accepted second, third;
  Open({.total = 100, .per_host = 10}, {&second, &third});
  for (const char* const host : {"127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.4", "127.0.0.2", "127.0.0.3"}) {
    ASSERT_TRUE(LetIn(host));
  }
  EXPECT_EQ(accepted_.size(), 3u);
  EXPECT_EQ(second.size(), 2u);
  EXPECT_EQ(third.size(), 1u);
  EXPECT_TRUE(LetIn("127.0.0.5"));
  EXPECT_EQ(accepted_.size(), 4u);
  gate_->Close();
}

// Its processes come from one address, and none of them must be felt by another.
TEST_F(ConnectionGateTest, ConnectionsOfThisMachineAreDealtOneByOne) {
  Accepted local, another;
  Open({.total = 100, .per_host = 10}, {}, {&local, &another});
  for (const char* const host : {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2", "127.0.0.1"}) {
    ASSERT_TRUE(LetIn(host));
  }
  EXPECT_EQ(accepted_.size(), 2u) << "of the other host";
  EXPECT_EQ(local.size(), 2u);
  EXPECT_EQ(another.size(), 1u);
  gate_->Close();
}

// Of a machine with several addresses: one that calls another of them is a host like others, also if it has called its
// own before.
TEST_F(ConnectionGateTest, OneHostMayCallItsOwnAddressAndAnother) {
  Accepted local;
  Open({.total = 100, .per_host = 10}, {}, {&local}, "0.0.0.0:0");
  const std::string port = gate_->address().substr(gate_->address().rfind(':'));
  ASSERT_TRUE(LetInAt("127.0.0.1" + port, "127.0.0.1"));
  ASSERT_TRUE(LetInAt("127.0.0.2" + port, "127.0.0.1"));
  ASSERT_TRUE(LetInAt("127.0.0.1" + port, "127.0.0.1"));
  EXPECT_EQ(local.size(), 2u);
  EXPECT_EQ(accepted_.size(), 1u);
  gate_->Close();
}

TEST_F(ConnectionGateTest, WithoutAcceptorsOfItsOwnThisMachineIsAHostLikeOthers) {
  Accepted second;
  Open({.total = 100, .per_host = 10}, {&second});
  for (const char* const host : {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1"}) ASSERT_TRUE(LetIn(host));
  EXPECT_EQ(accepted_.size(), 3u);
  EXPECT_EQ(second.size(), 1u);
  gate_->Close();
}

// gRPC closes a connection, and another file takes its number.
TEST_F(ConnectionGateTest, HostsThatHaveGoneDoNotCountWhenOthersAreDealt) {
  Accepted second;
  Open({.total = 100, .per_host = 10}, {&second});
  ASSERT_TRUE(LetIn("127.0.0.2"));
  ASSERT_TRUE(LetIn("127.0.0.3"));
  ASSERT_EQ(second.size(), 1u);
  second.HangUp();
  const int another = ::open("/dev/null", O_RDONLY);
  // The gate counts anew no more often than every 100 ms, and has done so for the host before.
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  ASSERT_TRUE(LetIn("127.0.0.4"));
  EXPECT_EQ(second.size(), 1u);
  ::close(another);
  gate_->Close();
}

TEST_F(ConnectionGateTest, RoomOfConnectionsThatAreClosedIsFound) {
  Open({.total = 1, .per_host = 1});
  EXPECT_TRUE(LetIn("127.0.0.2"));
  accepted_.HangUp();
  while (!LetIn("127.0.0.3")) {  // it looks for them now and then
  }
}

TEST_F(ConnectionGateTest, WhoSaysNothingIsHungUpOn) {
  Open({.total = 2, .per_host = 2, .first_bytes = std::chrono::milliseconds(0)});
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(TestPeer(gate_->address()).Answered());
  EXPECT_TRUE(Counted("silence", 10));
}

TEST_F(ConnectionGateTest, WhoSaysItByteByByteIsLetIn) {
  Open({.total = 1, .per_host = 1});
  const TestPeer slow(gate_->address());
  for (const char* const byte : {"P", "R", "I", " "}) slow.Send(byte);
  EXPECT_TRUE(slow.Answered());
}

TEST_F(ConnectionGateTest, WhoGoesNoFurtherThanAFewBytesIsHungUpOn) {
  Open({.total = 3, .per_host = 3, .first_bytes = std::chrono::milliseconds(50)});
  EXPECT_FALSE(LetIn("127.0.0.2", "P"));
  EXPECT_FALSE(LetIn("127.0.0.2", "PR"));
  EXPECT_FALSE(LetIn("127.0.0.2", "PRI"));
  EXPECT_TRUE(Counted("silence", 3));
  EXPECT_TRUE(Counted("handshake", 0));
}

TEST_F(ConnectionGateTest, WhoEndsAfterAFewBytesSpeaksAnotherLanguage) {
  Open({.total = 3, .per_host = 3, .first_bytes = std::chrono::hours(1)});
  for (const char* const begin : {"P", "PR", "PRI"}) {
    const TestPeer peer(gate_->address());
    peer.Send(begin);
    peer.Finish();
    EXPECT_FALSE(peer.Answered());
  }
  EXPECT_TRUE(Counted("handshake", 3));
  EXPECT_TRUE(Counted("silence", 0));
}

// Two of them in a gate for two, and then others: they have left no trace.
TEST_F(ConnectionGateTest, WhoSpeaksAnotherLanguageIsHungUpOn) {
  Open({.total = 2, .per_host = 2});
  EXPECT_FALSE(LetIn("127.0.0.2", "GET / HTTP/1.1\r\n\r\n"));
  EXPECT_FALSE(LetIn("127.0.0.2", "\x16\x03\x01\x02"));
  EXPECT_TRUE(Counted("handshake", 2));
  EXPECT_TRUE(LetIn("127.0.0.2"));
  EXPECT_TRUE(LetIn("127.0.0.2"));
}

TEST_F(ConnectionGateTest, WhoWaitsIsOneOfThoseThatMayBeThere) {
  Open({.total = 2, .per_host = 2});
  {
    const TestPeer silent(gate_->address());
    EXPECT_TRUE(LetIn("127.0.0.2"));
    EXPECT_FALSE(LetIn("127.0.0.2"));
    EXPECT_TRUE(Counted("connection", 1));
  }
  while (!LetIn("127.0.0.2")) {  // once the gate has seen that the silent one has gone
  }
}

TEST_F(ConnectionGateTest, LetsNobodyInOnceItIsClosed) {
  Open({.total = 3, .per_host = 3});
  ASSERT_TRUE(LetIn("127.0.0.2"));
  gate_->Close();
  EXPECT_FALSE(LetIn("127.0.0.2"));
  gate_->Close();
}

TEST_F(ConnectionGateTest, HangsUpOnWhoWaitsWhenItIsClosed) {
  Open({.total = 3, .per_host = 3, .first_bytes = std::chrono::hours(1)});
  const TestPeer silent(gate_->address()), slow(gate_->address());
  slow.Send("PR");
  ASSERT_TRUE(LetIn("127.0.0.2"));  // so that the others have come
  gate_->Close();
  EXPECT_FALSE(silent.Answered());
  EXPECT_FALSE(slow.Answered());
  EXPECT_TRUE(Counted("silence", 0));
}

// It once waited for ever for its end then.
TEST_F(ConnectionGateTest, SaysThatNoFilesAreLeft) {
  constexpr size_t kFilesOfAGate = 3;  // the listener, and two of its own
  const OpenFileLimit limit(64);
  std::vector<int> files;
  for (int file; (file = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) files.push_back(file);
  ASSERT_GT(files.size(), kFilesOfAGate);
  for (size_t left = 0; left < kFilesOfAGate; ++left) {
    const absl::Status none = ConnectionGate::Listen("127.0.0.1:0", {.total = 1, .per_host = 1}).status();
    EXPECT_TRUE(absl::IsUnavailable(none)) << left;
    EXPECT_THAT(std::string(none.message()), AllOf(HasSubstr("127.0.0.1:0"), HasSubstr("Too many open files"))) << left;
    ::close(files.back());
    files.pop_back();
  }
  EXPECT_TRUE(ConnectionGate::Listen("127.0.0.1:0", {.total = 1, .per_host = 1}).ok());
  for (const int file : files) ::close(file);
}

TEST(ConnectionLimitsTest, LeaveRoomForOtherFiles) {
  const auto total = [](rlim_t files) {
    const OpenFileLimit limit(files);
    const ConnectionLimits limits = DefaultConnectionLimits();
    EXPECT_EQ(limits.per_host, limits.total / 2);
    return limits.total;
  };
  EXPECT_EQ(total(100), 50u);
  EXPECT_EQ(total(512), 256u);
  EXPECT_EQ(total(1024), 768u);  // but 256
}

TEST_F(ConnectionGateTest, SaysWhereItListensAndWhyItCannot) {
  Open({.total = 1, .per_host = 1});
  EXPECT_THAT(gate_->address(), StartsWith("127.0.0.1:"));
  const absl::Status taken = ConnectionGate::Listen(gate_->address(), {.total = 1, .per_host = 1}).status();
  EXPECT_TRUE(absl::IsUnavailable(taken)) << taken;
  EXPECT_THAT(std::string(taken.message()), AllOf(HasSubstr(gate_->address()), HasSubstr("the port is in use")));
  const absl::Status strange = ConnectionGate::Listen("192.0.2.1:0", {.total = 1, .per_host = 1}).status();
  EXPECT_THAT(std::string(strange.message()), HasSubstr("not of this machine"));
  const absl::Status unknown = ConnectionGate::Listen("nowhere.invalid:0", {.total = 1, .per_host = 1}).status();
  EXPECT_TRUE(absl::IsUnavailable(unknown)) << unknown;
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("nowhere.invalid"));
  EXPECT_THAT(std::string(unknown.message()), Not(HasSubstr("the port is in use")));
  for (const std::string listen : {"127.0.0.1", ":4000", "127.0.0.1:65536", "127.0.0.1:"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ConnectionGate::Listen(listen, {.total = 1, .per_host = 1}).status()))
        << listen;
  }
}

}  // namespace
}  // namespace headrace
