// What a client may have a server do and keep: whoever wants more is ended, counted, and not felt by others.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/client_stream.h"
#include "common/file.h"
#include "common/grpc_server.h"
#include "common/grpc_status.h"
#include "common/security_testing.h"
#include "common/test_peer.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/create_channel_posix.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using ServerLimitsTest = EchoServerTest;

// A client's stream of which the messages are counted, and the end matters.
class Stream {
 public:
  explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
      : stream_(ClientStream::Open(channel, "/headrace.v1.Replay/Insert",
                                   {.message = [this](const grpc::ByteBuffer&) { ++received; },
                                    .closed = [this](const absl::Status& status) { closed_.set_value(status); }})) {}
  void Send(const grpc::ByteBuffer& message) { stream_->Send(message); }
  absl::Status End() { return ended_.get(); }
  bool Ended() const { return ended_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

  std::atomic<int> received = 0;

 private:
  std::promise<absl::Status> closed_;
  std::future<absl::Status> ended_ = closed_.get_future();
  const std::unique_ptr<ClientStream> stream_;
};

uint64_t MostResidentKilobytes() {
  const std::string status = *ReadFile("/proc/self/status");
  return std::strtoull(status.c_str() + status.find("VmHWM:") + 6, nullptr, 10);
}

TEST_F(ServerLimitsTest, ConnectionsThatSayNothingAreEnded) {
  int silent = 0;
  for (const auto& security : {NoSecurity(), OpenSecurity(authority_.Issue("server"))}) {
    Serve(*security, {.connections = {.total = 8, .per_host = 8, .first_bytes = std::chrono::milliseconds(0)}});
    EXPECT_FALSE(TestPeer(address()).Answered());
    EXPECT_TRUE(Counted("silence", ++silent));
  }
}

TEST_F(ServerLimitsTest, AHandshakeThatIsNotFinishedIsEnded) {
  Serve(*OpenSecurity(authority_.Issue("server")), {.handshake = std::chrono::milliseconds(10)});
  const TestPeer client(address());
  client.Send(std::string_view("\x16\x03\x01\x02\x00\x01\x00", 7));  // the beginning of a ClientHello of 512 bytes
  EXPECT_FALSE(client.Answered());
  AwaitCount("handshake");
}

TEST_F(ServerLimitsTest, AFloodOfConnectionsOfOneHostLeavesTheOthersRoom) {
  Serve(*NoSecurity(), {.connections = {.total = 8, .per_host = 4}});
  const auto channel = MakeChannel(address(), *NoSecurity());
  ASSERT_TRUE(Ask(channel).ok());
  {
    const std::vector<std::unique_ptr<TestPeer>> flood = Flood(address(), 20);
    EXPECT_EQ(CountRefused(flood), 16);
    EXPECT_TRUE(Counted("connection", 16));
    EXPECT_TRUE(Ask(channel).ok());
    EXPECT_TRUE(AskAs(*NoSecurity()).ok());
  }
  // Room that has become free is found.
  while (CountRefused(Flood(address(), 1)) > 0) {
  }
}

TEST_F(ServerLimitsTest, StreamsThatSendNothingAreEnded) {
  service_.limits.first_message = std::chrono::milliseconds(0);
  Serve(*NoSecurity());
  std::vector<std::unique_ptr<Stream>> streams;
  const auto channel = MakeChannel(address(), *NoSecurity());
  for (int i = 0; i < 100; ++i) streams.push_back(std::make_unique<Stream>(channel));
  for (const auto& stream : streams) {
    const absl::Status status = stream->End();
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  }
  EXPECT_TRUE(Counted("silence", 100));
}

TEST_F(ServerLimitsTest, AConnectionHasSoManyStreamsAndNoMore) {
  Serve(*NoSecurity());
  const auto channel = MakeChannel(address(), *NoSecurity());
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 64; ++i) streams.push_back(std::make_unique<Stream>(channel));
  while (service_.alive < 64) std::this_thread::yield();
  // It is not even sent, and waits for one of the others to end.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  v1::InfoResponse response;
  const absl::Status status = FromGrpc(v1::Replay::NewStub(channel)->Info(&context, {}, &response));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(AskAs(*NoSecurity()).ok());
  streams.pop_back();
  EXPECT_TRUE(Ask(channel).ok());
}

// A client that sends, and never reads what comes back.
class DeafStream {
 public:
  explicit DeafStream(const std::string& address) : DeafStream(MakeChannel(address, *NoSecurity())) {}
  explicit DeafStream(const std::shared_ptr<grpc::Channel>& channel) : stub_(v1::Replay::NewStub(channel)) {}
  // False: the stream has ended.
  bool Send(size_t bytes) {
    v1::InsertRequest request;
    request.mutable_open()->set_table(std::string(bytes, 'x'));
    return stream_->Write(request);
  }
  absl::Status End() {
    // What has come before the end is still there to be read.
    v1::InsertResponse response;
    while (stream_->Read(&response)) {
    }
    return FromGrpc(stream_->Finish());
  }

 private:
  const std::unique_ptr<v1::Replay::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::InsertRequest, v1::InsertResponse>> stream_ =
      stub_->Insert(&context_);
};

TEST_F(ServerLimitsTest, AClientThatNeverReadsIsCutOff) {
  service_.limits.reading = std::chrono::milliseconds(10);
  Serve(*NoSecurity());
  DeafStream stream(address());
  EXPECT_TRUE(stream.Send(size_t{32} << 20));  // more than any window
  AwaitCount("unread");
  while (service_.alive > 0) std::this_thread::yield();
  EXPECT_TRUE(AskAs(*NoSecurity()).ok());
}

TEST_F(ServerLimitsTest, MoreThanMayWaitForAClientIsNotKept) {
  service_.limits.unsent_bytes = size_t{100} << 20;
  service_.limits.reading_when_full = std::chrono::milliseconds(10);
  service_.times = 20;
  Serve(*NoSecurity());
  Stream other(MakeChannel(address(), *NoSecurity()));
  while (service_.alive < 1) std::this_thread::yield();
  DeafStream stream(address());
  EXPECT_TRUE(stream.Send(size_t{32} << 20));
  AwaitCount("unread");
  while (service_.alive > 1) std::this_thread::yield();
  EXPECT_TRUE(AskAs(*NoSecurity()).ok());
  EXPECT_EQ(service_.alive, 1) << "that of the other client";
}

// Either has less than what may wait. Each connection once had all of it for itself.
TEST_F(ServerLimitsTest, MoreThanMayWaitForAHostIsNotKeptForTwoOfItsConnections) {
  service_.limits.unsent_bytes = size_t{100} << 20;
  service_.limits.reading_when_full = std::chrono::milliseconds(10);
  service_.times = 2;
  Serve(*NoSecurity());
  DeafStream one(address()), other(address());
  EXPECT_TRUE(one.Send(size_t{32} << 20));
  EXPECT_TRUE(other.Send(size_t{32} << 20));
  while (!Counted("unread")) std::this_thread::yield();
  while (service_.alive > 1) std::this_thread::yield();
  EXPECT_TRUE(AskAs(*NoSecurity()).ok());
}

TEST_F(ServerLimitsTest, WhoReadsIsKeptWhileAnotherOfTheHostHoards) {
  service_.limits.unsent_bytes = size_t{100} << 20;
  service_.limits.reading_when_full = std::chrono::seconds(1);
  service_.times = 4;
  Serve(*NoSecurity());
  Stream reader(MakeChannel(address(), *NoSecurity()));
  DeafStream hoarder(address());
  EXPECT_TRUE(hoarder.Send(size_t{32} << 20));
  const grpc::Slice small("small");
  while (!Counted("unread")) {
    reader.Send(grpc::ByteBuffer(&small, 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  while (service_.alive > 1) std::this_thread::yield();
  reader.Send(grpc::ByteBuffer(&small, 1));
  EXPECT_FALSE(Counted("unread", 2));
  EXPECT_EQ(service_.alive, 1);
}

// A channel from another address of this machine, over one connection.
std::shared_ptr<grpc::Channel> ChannelFrom(const char* from, const std::string& address) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
  EXPECT_EQ(::inet_pton(AF_INET, from, &here.sin_addr), 1);
  EXPECT_EQ(::inet_pton(AF_INET, "127.0.0.1", &there.sin_addr), 1);
  there.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  EXPECT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&here), sizeof(here)), 0);
  EXPECT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&there), sizeof(there)), 0);
  EXPECT_EQ(::fcntl(socket, F_SETFL, O_NONBLOCK), 0);
  return grpc::CreateInsecureChannelFromFd("hoarder", socket);
}

// Each has the service keep 32 MiB that it never reads: more in all than its group's buffers have place for.
TEST_F(ServerLimitsTest, AHostThatFillsTheBuffersIsNotFeltByAnother) {
  constexpr int kHoarders = 8;
  Serve(*NoSecurity(), {.hosts = {.number = 2, .buffer_bytes = size_t{128} << 20}});
  const auto others = MakeChannel(address(), *NoSecurity());
  Stream other(others);
  const auto hoarding = ChannelFrom("127.0.0.2", address());
  std::vector<std::unique_ptr<DeafStream>> hoarders;
  for (int i = 0; i < kHoarders; ++i) hoarders.push_back(std::make_unique<DeafStream>(hoarding));
  while (service_.alive < kHoarders + 1) std::this_thread::yield();
  std::vector<std::jthread> sending;
  for (const auto& hoarder : hoarders) sending.emplace_back([&] { (void)hoarder->Send(size_t{32} << 20); });
  while (service_.alive == kHoarders + 1) std::this_thread::yield();  // until one is ended for it
  const grpc::Slice message(std::string(size_t{16} << 20, 'x'));
  for (int i = 0; i < 4; ++i) other.Send(grpc::ByteBuffer(&message, 1));
  while (other.received < 4 && !other.Ended()) std::this_thread::yield();
  EXPECT_EQ(other.received, 4);
  EXPECT_FALSE(other.Ended());
  EXPECT_TRUE(Ask(others).ok());
  server_.reset();  // whoever still sends is let go
}

TEST_F(ServerLimitsTest, AMessageOfAGigabyteIsNotTakenIn) {
  Serve(*NoSecurity(), {.this_machine = {.number = 2, .buffer_bytes = 128 << 20}});
  const auto other = MakeChannel(address(), *NoSecurity());
  Stream neighbour(other);  // a process of this machine, too
  ASSERT_TRUE(Ask(other).ok());
  grpc::ChannelArguments unlimited;
  unlimited.SetMaxSendMessageSize(-1);
  Stream stream(grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), unlimited));
  const grpc::Slice piece(std::string(size_t{16} << 20, 'x'));
  const std::vector<grpc::Slice> pieces(64, piece);
  const uint64_t before = MostResidentKilobytes();
  stream.Send(grpc::ByteBuffer(pieces.data(), pieces.size()));
  const absl::Status status = stream.End();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_LT(MostResidentKilobytes(), before + (256 << 10));
  EXPECT_TRUE(Ask(other).ok());
  neighbour.Send(grpc::ByteBuffer(&piece, 1));
  while (neighbour.received < 1 && !neighbour.Ended()) std::this_thread::yield();
  EXPECT_EQ(neighbour.received, 1);
  AwaitCount("size");
}

// The first is refused by the stream, the second by gRPC.
TEST_F(ServerLimitsTest, AMessageOverTheLimitIsRefused) {
  Serve(*NoSecurity());
  grpc::ChannelArguments unlimited;
  unlimited.SetMaxSendMessageSize(-1);
  int refused = 0;
  for (const size_t bytes : {(size_t{64} << 20) + 1, size_t{130} << 20}) {
    Stream stream(grpc::CreateCustomChannel(address(), grpc::InsecureChannelCredentials(), unlimited));
    const grpc::Slice message(std::string(bytes, 'x'));
    stream.Send(grpc::ByteBuffer(&message, 1));
    const absl::Status status = stream.End();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("larger than max (", bytes)));
    ++refused;
    AwaitCount("size", refused);
  }
}

TEST_F(ServerLimitsTest, HealthTakesSoManyConnectionsAndNoMore) {
  const std::unique_ptr<HealthServer> health = *HealthServer::Start("127.0.0.1:0");
  const std::vector<std::unique_ptr<TestPeer>> flood = Flood(health->address(), 100);
  EXPECT_GE(CountRefused(flood), 36);
  EXPECT_TRUE(Counted("connection", 36));
}

TEST_F(ServerLimitsTest, HeadersThatAreTooLongAreRefused) {
  Serve(*NoSecurity());
  const std::unique_ptr<HealthServer> health = *HealthServer::Start("127.0.0.1:0");
  for (const std::string& port : {address(), health->address()}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTestPatience);
    context.AddMetadata("x", std::string(6000, 'x'));
    v1::InfoResponse response;
    const absl::Status status =
        FromGrpc(v1::Replay::NewStub(MakeChannel(port, *NoSecurity()))->Info(&context, {}, &response));
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  }
  AwaitCount("size", 2);
}

}  // namespace
}  // namespace headrace
