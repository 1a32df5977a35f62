// Doors that are closed: who is turned away, with which status, and that nobody else feels it. The certificates are
// made with the openssl command line, as `tools/headrace certificates` does.
#include "common/security.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/client_stream.h"
#include "common/file.h"
#include "common/grpc_server.h"
#include "common/grpc_status.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/refusals.h"
#include "common/rpc_metrics.h"
#include "common/server_stream.h"
#include "common/test_peer.h"
#include "gmock/gmock.h"
#include "grpc/support/log.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/create_channel_posix.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {
namespace {

using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr char kToken[] = "a-token-of-sufficient-length";
constexpr std::chrono::seconds kPatience{30};

void Shell(const std::string& command) { ASSERT_EQ(std::system((command + " 2>/dev/null >&2").c_str()), 0) << command; }

// Directories with certificates in the test's own place.
class Authority {
 public:
  explicit Authority(const std::string& name) : path_(absl::StrCat(::testing::TempDir(), "/", name, "-", ::getpid())) {
    std::filesystem::create_directories(path_);
    Shell(absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=", name,
                       " -keyout ", path_, "/ca.key -out ", path_, "/ca.crt"));
  }
  // A directory for --certificates; --token_file is "token" in it.
  std::string Issue(const std::string& name, int days = 2, const std::string& host = "127.0.0.1") const {
    const std::string directory = absl::StrCat(path_, "/", name);
    std::filesystem::create_directories(directory);
    std::filesystem::copy_file(path_ + "/ca.crt", directory + "/ca.crt",
                               std::filesystem::copy_options::overwrite_existing);
    Shell(absl::StrCat("cd ", directory, " && printf 'subjectAltName=IP:", host, "' > names",
                       " && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=", name,
                       " -keyout tls.key -out request && openssl x509 -req -in request -CA ../ca.crt -CAkey ../ca.key",
                       " -CAcreateserial -days ", days, " -extfile names -out tls.crt"));
    EXPECT_TRUE(WriteFileAtomically(directory + "/token", absl::StrCat(kToken, "\n")).ok());
    return directory;
  }
  std::string certificate() const { return path_ + "/ca.crt"; }

 private:
  const std::string path_;
};

std::shared_ptr<const Security> Open(const std::string& directory) {
  absl::StatusOr<std::shared_ptr<const Security>> security =
      Security::Create({.certificates = directory, .token_file = directory + "/token"});
  EXPECT_TRUE(security.ok()) << security.status();
  return *security;
}

std::shared_ptr<const Security> None() { return *Security::Create({}); }

// Sends back what it gets, `times` of it.
class EchoStream final : public ServerStream {
 public:
  EchoStream(int times, std::atomic<int>* alive) : times_(times), alive_(alive) { ++*alive_; }
  ~EchoStream() override { --*alive_; }

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    for (int i = 0; i < times_; ++i) Send(message);
    ReadNext();
  }

  const int times_;
  std::atomic<int>* const alive_;
};

class Service final : public v1::Replay::WithRawCallbackMethod_Insert<v1::Replay::Service> {
 public:
  grpc::Status Info(grpc::ServerContext*, const v1::InfoRequest*, v1::InfoResponse*) override {
    return grpc::Status::OK;
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Insert(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, std::make_shared<EchoStream>(times, &alive), limits);
  }

  StreamLimits limits;
  int times = 1;
  std::atomic<int> alive = 0;
};

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

// Peers that begin as they should and do nothing then.
std::vector<std::unique_ptr<TestPeer>> Flood(const std::string& address, int connections) {
  std::vector<std::unique_ptr<TestPeer>> flood;
  for (int i = 0; i < connections; ++i) {
    flood.push_back(std::make_unique<TestPeer>(address, "127.0.0.2"));
    flood.back()->Send(Http2Opening());
  }
  return flood;
}

int Refused(const std::vector<std::unique_ptr<TestPeer>>& peers) {
  return static_cast<int>(
      std::count_if(peers.begin(), peers.end(), [](const auto& peer) { return !peer->Answered(); }));
}

class SecurityTest : public ::testing::Test {
 protected:
  void SetUp() override { TakeOverGrpcLog(); }

  void Serve(const Security& security, const ServerLimits& limits = {}) {
    absl::StatusOr<std::unique_ptr<GrpcServer>> server =
        GrpcServer::Start("127.0.0.1:0", {&service_}, &rpcs_, security, limits);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  const std::string& address() const { return server_->address(); }

  absl::Status Ask(const std::shared_ptr<grpc::Channel>& channel, bool wait = false) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    context.set_wait_for_ready(wait);
    v1::InfoResponse response;
    return FromGrpc(v1::Replay::NewStub(channel)->Info(&context, {}, &response));
  }
  absl::Status AskAs(const Security& security) { return Ask(MakeChannel(address(), security)); }

  // As it stands on the page of metrics.
  bool Counted(const std::string& reason, int at_least = 1) const {
    const std::string text = registry_.Text(),
                      line = absl::StrCat("headrace_grpc_refusals_total{reason=\"", reason, "\"} ");
    const size_t place = text.find(line);
    return place != std::string::npos && std::atoi(text.c_str() + place + line.size()) >= at_least;
  }

  // A peer may feel it first.
  void AwaitCount(const std::string& reason, int at_least = 1) const {
    while (!Counted(reason, at_least)) std::this_thread::yield();
  }

  MetricRegistry registry_{"test"};
  RefusalCounters refusals_{registry_};
  const RpcMetrics rpcs_{registry_};
  Service service_;
  std::unique_ptr<GrpcServer> server_;
  const Authority authority_{"authority"};
};

TEST_F(SecurityTest, PeersOfOneAuthorityWithTheTokenTalk) {
  Serve(*Open(authority_.Issue("server")));
  const absl::Status status = AskAs(*Open(authority_.Issue("client")));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_FALSE(Counted("token"));
  EXPECT_FALSE(Counted("handshake"));
}

TEST_F(SecurityTest, AWrongTokenIsUnauthenticated) {
  Serve(*Open(authority_.Issue("server")));
  const std::string client = authority_.Issue("client");
  ASSERT_TRUE(WriteFileAtomically(client + "/token", "another-token-of-some-length\n").ok());
  testing::internal::CaptureStderr();
  EXPECT_TRUE(absl::IsUnauthenticated(AskAs(*Open(client))));
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              ContainsRegex("certificate for .*is turned away: it has no accepted"));
  EXPECT_TRUE(Counted("token"));
  EXPECT_THAT(registry_.Text(), HasSubstr("headrace_rpc_unheard_calls 0\n"));
  EXPECT_TRUE(AskAs(*Open(authority_.Issue("other"))).ok());
}

TEST_F(SecurityTest, NoTokenIsUnauthenticated) {
  const std::string client = authority_.Issue("client");
  Serve(*Open(authority_.Issue("server")));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = *ReadFile(client + "/ca.crt");
  options.pem_cert_chain = *ReadFile(client + "/tls.crt");
  options.pem_private_key = *ReadFile(client + "/tls.key");
  EXPECT_TRUE(absl::IsUnauthenticated(Ask(grpc::CreateChannel(address(), grpc::SslCredentials(options)))));
  EXPECT_TRUE(Counted("token"));
}

TEST_F(SecurityTest, ATokenIsReplacedWhileBothSidesRun) {
  const std::string server = authority_.Issue("server"), client = authority_.Issue("client");
  Serve(*Open(server));
  const auto channel = MakeChannel(address(), *Open(client));
  EXPECT_TRUE(Ask(channel).ok());
  ASSERT_TRUE(WriteFileAtomically(server + "/token", absl::StrCat(kToken, "\na-new-token-of-some-length\n")).ok());
  EXPECT_TRUE(Ask(channel).ok());
  ASSERT_TRUE(WriteFileAtomically(client + "/token", "a-new-token-of-some-length\n").ok());
  EXPECT_TRUE(Ask(channel).ok());
  ASSERT_TRUE(WriteFileAtomically(server + "/token", "the-newest-token-of-all\n").ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Ask(channel)));
}

TEST_F(SecurityTest, NoCertificateIsNoConnection) {
  Serve(*Open(authority_.Issue("server")));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = *ReadFile(authority_.certificate());
  EXPECT_TRUE(absl::IsUnavailable(Ask(grpc::CreateChannel(address(), grpc::SslCredentials(options)))));
  AwaitCount("handshake");
}

TEST_F(SecurityTest, AnExpiredCertificateIsNoConnection) {
  Serve(*Open(authority_.Issue("server")));
  EXPECT_TRUE(absl::IsUnavailable(AskAs(*Open(authority_.Issue("client", /*days=*/-1)))));
  AwaitCount("handshake");
}

TEST_F(SecurityTest, WhatGrpcSaysOfAHandshakeIsLoggedWithoutPlacesInItsSources) {
  std::string log;
  while (log.empty()) {  // there are no more than some lines a second, which other tests may have used up
    testing::internal::CaptureStderr();
    gpr_log("a.cc", 1, GPR_LOG_SEVERITY_DEBUG, "%s",
            "Handshaking failed: UNKNOWN:the cause {file_line:1, children:[INTERNAL:closed "
            "{target_address:\"ipv4:1.2\"}]}");
    log = testing::internal::GetCapturedStderr();
  }
  EXPECT_THAT(log, EndsWith("gRPC: Handshaking failed: UNKNOWN:the cause (ipv4:1.2)\n"));
  EXPECT_TRUE(Counted("handshake"));
}

TEST_F(SecurityTest, ACertificateOfAnotherAuthorityIsNoConnection) {
  Serve(*Open(authority_.Issue("server")));
  const std::string client = Authority("other").Issue("client");
  // It knows the server's authority, so that it is the server that refuses.
  std::filesystem::copy_file(authority_.certificate(), client + "/ca.crt",
                             std::filesystem::copy_options::overwrite_existing);
  const std::shared_ptr<const Security> security = Open(client);
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr(absl::StrCat("not accept ", client, "/tls.crt"))) << status;
  AwaitCount("handshake");
}

TEST_F(SecurityTest, AServerOfAnotherAuthorityIsNotTrusted) {
  Serve(*Open(authority_.Issue("server")));
  const std::string client = Authority("other").Issue("client");
  const std::shared_ptr<const Security> security = Open(client);
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr(absl::StrCat("not of the authority of ", client, "/ca.crt"))) << status;
}

TEST_F(SecurityTest, AServerWithTheCertificateOfAnotherHostIsNotTrusted) {
  Serve(*Open(authority_.Issue("server", 2, "127.0.0.9")));
  const std::string client = authority_.Issue("client");
  const std::shared_ptr<const Security> security = Open(client);
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr(absl::StrCat("for other names: `tools/headrace certificates ", client)))
      << status;
}

TEST_F(SecurityTest, PlainTextToAnEncryptedPortIsNoConnection) {
  Serve(*Open(authority_.Issue("server")));
  const absl::Status status = AskAs(*None());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(None()->Hint(status), HasSubstr("only where --certificates are given")) << status;
  AwaitCount("handshake");
  EXPECT_TRUE(AskAs(*Open(authority_.Issue("client"))).ok());
}

TEST_F(SecurityTest, EncryptedToAPlainPortIsNoConnection) {
  Serve(*None());
  const std::shared_ptr<const Security> security = Open(authority_.Issue("client"));
  const absl::Status status = AskAs(*security);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(security->Hint(status), HasSubstr("it may serve without certificates")) << status;
  AwaitCount("handshake");
  EXPECT_TRUE(AskAs(*None()).ok());
}

TEST_F(SecurityTest, ACauseThatIsNotOfCertificatesHasNoHint) {
  EXPECT_EQ(None()->Hint(absl::UnavailableError("Connection refused")), "");
  EXPECT_EQ(None()->Hint(absl::DeadlineExceededError("the handshake took too long")), "");
}

TEST_F(SecurityTest, AnotherProtocolToAPlainPortIsNoConnection) {
  Serve(*None());
  const TestPeer browser(address());
  browser.Send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_FALSE(browser.Answered());
  AwaitCount("handshake");
  EXPECT_TRUE(AskAs(*None()).ok());
}

TEST_F(SecurityTest, ConnectionsThatSayNothingAreEnded) {
  int silent = 0;
  for (const auto& security : {None(), Open(authority_.Issue("server"))}) {
    Serve(*security, {.connections = {.total = 8, .per_host = 8, .first_bytes = std::chrono::milliseconds(0)}});
    EXPECT_FALSE(TestPeer(address()).Answered());
    EXPECT_TRUE(Counted("silence", ++silent));
  }
}

TEST_F(SecurityTest, AHandshakeThatIsNotFinishedIsEnded) {
  Serve(*Open(authority_.Issue("server")), {.handshake = std::chrono::milliseconds(10)});
  const TestPeer client(address());
  client.Send(std::string_view("\x16\x03\x01\x02\x00\x01\x00", 7));  // the beginning of a ClientHello of 512 bytes
  EXPECT_FALSE(client.Answered());
  AwaitCount("handshake");
}

// The server goes over to another authority: who has a certificate of that one gets in, without a restart.
TEST_F(SecurityTest, CertificatesAreReadAgain) {
  const std::string server = authority_.Issue("server");
  Serve(*Open(server));
  const Authority next("next");
  const auto channel = MakeChannel(address(), *Open(next.Issue("client")));
  EXPECT_TRUE(absl::IsUnavailable(Ask(channel)));
  const std::string renewed = next.Issue("server");
  for (const char* const file : {"/tls.key", "/tls.crt", "/ca.crt"}) {
    ASSERT_TRUE(WriteFileAtomically(server + file, *ReadFile(renewed + file)).ok());
  }
  EXPECT_TRUE(Ask(channel, /*wait=*/true).ok());
}

TEST_F(SecurityTest, AFloodOfConnectionsOfOneHostLeavesTheOthersRoom) {
  Serve(*None(), {.connections = {.total = 8, .per_host = 4}});
  const auto channel = MakeChannel(address(), *None());
  ASSERT_TRUE(Ask(channel).ok());
  {
    const std::vector<std::unique_ptr<TestPeer>> flood = Flood(address(), 20);
    EXPECT_EQ(Refused(flood), 16);
    EXPECT_TRUE(Counted("connection", 16));
    EXPECT_TRUE(Ask(channel).ok());
    EXPECT_TRUE(AskAs(*None()).ok());
  }
  // Room that has become free is found.
  while (Refused(Flood(address(), 1)) > 0) {
  }
}

TEST_F(SecurityTest, StreamsThatSendNothingAreEnded) {
  service_.limits.first_message = std::chrono::milliseconds(0);
  Serve(*None());
  std::vector<std::unique_ptr<Stream>> streams;
  const auto channel = MakeChannel(address(), *None());
  for (int i = 0; i < 100; ++i) streams.push_back(std::make_unique<Stream>(channel));
  for (const auto& stream : streams) {
    const absl::Status status = stream->End();
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  }
  EXPECT_TRUE(Counted("silence", 100));
}

TEST_F(SecurityTest, AConnectionHasSoManyStreamsAndNoMore) {
  Serve(*None());
  const auto channel = MakeChannel(address(), *None());
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 64; ++i) streams.push_back(std::make_unique<Stream>(channel));
  while (service_.alive < 64) std::this_thread::yield();
  // It is not even sent, and waits for one of the others to end.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  v1::InfoResponse response;
  const absl::Status status = FromGrpc(v1::Replay::NewStub(channel)->Info(&context, {}, &response));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(AskAs(*None()).ok());
  streams.pop_back();
  EXPECT_TRUE(Ask(channel).ok());
}

// A client that sends, and never reads what comes back.
class DeafStream {
 public:
  explicit DeafStream(const std::string& address) : DeafStream(MakeChannel(address, *None())) {}
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

TEST_F(SecurityTest, AClientThatNeverReadsIsCutOff) {
  service_.limits.reading = std::chrono::milliseconds(10);
  Serve(*None());
  DeafStream stream(address());
  EXPECT_TRUE(stream.Send(size_t{32} << 20));  // more than any window
  AwaitCount("unread");
  while (service_.alive > 0) std::this_thread::yield();
  EXPECT_TRUE(AskAs(*None()).ok());
}

TEST_F(SecurityTest, MoreThanMayWaitForAClientIsNotKept) {
  service_.limits.unsent_bytes = size_t{100} << 20;
  service_.limits.reading_when_full = std::chrono::milliseconds(10);
  service_.times = 20;
  Serve(*None());
  Stream other(MakeChannel(address(), *None()));
  while (service_.alive < 1) std::this_thread::yield();
  DeafStream stream(address());
  EXPECT_TRUE(stream.Send(size_t{32} << 20));
  AwaitCount("unread");
  while (service_.alive > 1) std::this_thread::yield();
  EXPECT_TRUE(AskAs(*None()).ok());
  EXPECT_EQ(service_.alive, 1) << "that of the other client";
}

// Either has less than what may wait. Each connection once had all of it for itself.
TEST_F(SecurityTest, MoreThanMayWaitForAHostIsNotKeptForTwoOfItsConnections) {
  service_.limits.unsent_bytes = size_t{100} << 20;
  service_.limits.reading_when_full = std::chrono::milliseconds(10);
  service_.times = 2;
  Serve(*None());
  DeafStream one(address()), other(address());
  EXPECT_TRUE(one.Send(size_t{32} << 20));
  EXPECT_TRUE(other.Send(size_t{32} << 20));
  while (!Counted("unread")) std::this_thread::yield();
  while (service_.alive > 1) std::this_thread::yield();
  EXPECT_TRUE(AskAs(*None()).ok());
}

TEST_F(SecurityTest, WhoReadsIsKeptWhileAnotherOfTheHostHoards) {
  service_.limits.unsent_bytes = size_t{100} << 20;
  service_.limits.reading_when_full = std::chrono::seconds(1);
  service_.times = 4;
  Serve(*None());
  Stream reader(MakeChannel(address(), *None()));
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
TEST_F(SecurityTest, AHostThatFillsTheBuffersIsNotFeltByAnother) {
  constexpr int kHoarders = 8;
  Serve(*None(), {.hosts = {.number = 2, .buffer_bytes = size_t{128} << 20}});
  const auto others = MakeChannel(address(), *None());
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

TEST_F(SecurityTest, AMessageOfAGigabyteIsNotTakenIn) {
  Serve(*None(), {.this_machine = {.number = 2, .buffer_bytes = 128 << 20}});
  const auto other = MakeChannel(address(), *None());
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
TEST_F(SecurityTest, AMessageOverTheLimitIsRefused) {
  Serve(*None());
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

TEST_F(SecurityTest, WhatOthersCanReachIsClosedUnlessSaidOtherwise) {
  for (const char* const listen : {"0.0.0.0:0", "[::]:0", "127.example.org:0"}) {
    const auto server = GrpcServer::Start(listen, {&service_}, nullptr, *None());
    EXPECT_TRUE(absl::IsFailedPrecondition(server.status())) << server.status();
    EXPECT_THAT(std::string(server.status().message()), HasSubstr("--certificates"));
  }
  EXPECT_TRUE(GrpcServer::Start("0.0.0.0:0", {&service_}, nullptr, **Security::Create({.insecure = true})).ok());
  EXPECT_TRUE(GrpcServer::Start("0.0.0.0:0", {&service_}, nullptr, *Open(authority_.Issue("server"))).ok());
}

TEST_F(SecurityTest, WhatIsMissingIsNamed) {
  const std::string directory = authority_.Issue("server");
  const auto message = [](const SecurityOptions& options) {
    const absl::Status status = Security::Create(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message({.certificates = directory}), HasSubstr("--token_file"));
  EXPECT_THAT(message({.token_file = directory + "/token"}), HasSubstr("--certificates"));
  EXPECT_THAT(message({.certificates = directory, .token_file = "/nowhere/token"}), HasSubstr("/nowhere/token"));
  ASSERT_TRUE(WriteFileAtomically(directory + "/token", "short\n").ok());
  EXPECT_THAT(message({.certificates = directory, .token_file = directory + "/token"}), HasSubstr("16 characters"));
  ASSERT_TRUE(WriteFileAtomically(directory + "/tls.key", "no key").ok());
  EXPECT_THAT(message({.certificates = directory, .token_file = directory + "/token"}), HasSubstr("tls.key"));
}

TEST_F(SecurityTest, HealthAnswersNothingElse) {
  // A server that offers reflection once made every later one of the process offer it.
  Serve(*None());
  const std::unique_ptr<HealthServer> health = *HealthServer::Start("127.0.0.1:0");
  const auto channel = MakeChannel(health->address(), *None());
  EXPECT_TRUE(absl::IsUnimplemented(Ask(channel)));
  std::promise<absl::Status> closed;
  const auto reflection = ClientStream::Open(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                             {.message = [](const grpc::ByteBuffer&) {},
                                              .closed = [&](const absl::Status& status) { closed.set_value(status); }});
  const grpc::Slice request("anything");
  reflection->Send(grpc::ByteBuffer(&request, 1));
  const absl::Status status = closed.get_future().get();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
}

TEST_F(SecurityTest, HealthTakesSoManyConnectionsAndNoMore) {
  const std::unique_ptr<HealthServer> health = *HealthServer::Start("127.0.0.1:0");
  const std::vector<std::unique_ptr<TestPeer>> flood = Flood(health->address(), 100);
  EXPECT_GE(Refused(flood), 36);
  EXPECT_TRUE(Counted("connection", 36));
}

TEST_F(SecurityTest, HeadersThatAreTooLongAreRefused) {
  Serve(*None());
  const std::unique_ptr<HealthServer> health = *HealthServer::Start("127.0.0.1:0");
  for (const std::string& port : {address(), health->address()}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    context.AddMetadata("x", std::string(6000, 'x'));
    v1::InfoResponse response;
    const absl::Status status =
        FromGrpc(v1::Replay::NewStub(MakeChannel(port, *None()))->Info(&context, {}, &response));
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  }
  AwaitCount("size", 2);
}

}  // namespace
}  // namespace headrace
