#include "common/security_testing.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/grpc_status.h"

namespace headrace {
namespace {

void Shell(const std::string& command) { ASSERT_EQ(std::system((command + " 2>/dev/null >&2").c_str()), 0) << command; }

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

}  // namespace

TestAuthority::TestAuthority(const std::string& name)
    : path_(absl::StrCat(::testing::TempDir(), "/", name, "-", ::getpid())) {
  std::filesystem::create_directories(path_);
  Shell(absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=", name,
                     " -keyout ", path_, "/ca.key -out ", path_, "/ca.crt"));
}

std::string TestAuthority::Issue(const std::string& name, int days, const std::string& host) const {
  const std::string directory = absl::StrCat(path_, "/", name);
  std::filesystem::create_directories(directory);
  std::filesystem::copy_file(path_ + "/ca.crt", directory + "/ca.crt",
                             std::filesystem::copy_options::overwrite_existing);
  Shell(absl::StrCat("cd ", directory, " && printf 'subjectAltName=IP:", host, "' > names",
                     " && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=", name,
                     " -keyout tls.key -out request && openssl x509 -req -in request -CA ../ca.crt -CAkey ../ca.key",
                     " -CAcreateserial -days ", days, " -extfile names -out tls.crt"));
  EXPECT_TRUE(WriteFileAtomically(directory + "/token", absl::StrCat(kTestToken, "\n")).ok());
  return directory;
}

std::shared_ptr<const Security> OpenSecurity(const std::string& directory) {
  absl::StatusOr<std::shared_ptr<const Security>> security =
      Security::Create({.certificates = directory, .token_file = directory + "/token"});
  EXPECT_TRUE(security.ok()) << security.status();
  return *security;
}

std::shared_ptr<const Security> NoSecurity() { return *Security::Create({}); }

std::vector<std::unique_ptr<TestPeer>> Flood(const std::string& address, int connections) {
  std::vector<std::unique_ptr<TestPeer>> flood;
  for (int i = 0; i < connections; ++i) {
    flood.push_back(std::make_unique<TestPeer>(address, "127.0.0.2"));
    flood.back()->Send(Http2Opening());
  }
  return flood;
}

int CountRefused(const std::vector<std::unique_ptr<TestPeer>>& peers) {
  return static_cast<int>(
      std::count_if(peers.begin(), peers.end(), [](const auto& peer) { return !peer->Answered(); }));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EchoService::Insert(grpc::CallbackServerContext* context) {
  return ServerStream::Start(context, std::make_shared<EchoStream>(times, &alive), limits);
}

void EchoServerTest::Serve(const Security& security, const ServerLimits& limits) {
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start("127.0.0.1:0", {&service_}, &rpcs_, security, limits);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
}

absl::Status EchoServerTest::Ask(const std::shared_ptr<grpc::Channel>& channel, bool wait) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kTestPatience);
  context.set_wait_for_ready(wait);
  v1::InfoResponse response;
  return FromGrpc(v1::Replay::NewStub(channel)->Info(&context, {}, &response));
}

bool EchoServerTest::Counted(const std::string& reason, int at_least) const {
  const std::string text = registry_.Text(),
                    line = absl::StrCat("headrace_grpc_refusals_total{reason=\"", reason, "\"} ");
  const size_t place = text.find(line);
  return place != std::string::npos && std::atoi(text.c_str() + place + line.size()) >= at_least;
}

void EchoServerTest::AwaitCount(const std::string& reason, int at_least) const {
  while (!Counted(reason, at_least)) std::this_thread::yield();
}

}  // namespace headrace
