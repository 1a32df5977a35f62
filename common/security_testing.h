// A server whose doors tests knock at, and certificates for them, made with the openssl command line as
// `tools/headrace certificates` makes them.
#ifndef HEADRACE_COMMON_SECURITY_TESTING_H_
#define HEADRACE_COMMON_SECURITY_TESTING_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/refusals.h"
#include "common/rpc_metrics.h"
#include "common/security.h"
#include "common/server_stream.h"
#include "common/test_peer.h"
#include "grpcpp/channel.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {

inline constexpr char kTestToken[] = "a-token-of-sufficient-length";
inline constexpr std::chrono::seconds kTestPatience{30};

// Directories with certificates in the test's own place.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name);
  // A directory for --certificates; --token_file is "token" in it.
  std::string Issue(const std::string& name, int days = 2, const std::string& host = "127.0.0.1") const;
  std::string certificate() const { return path_ + "/ca.crt"; }

 private:
  const std::string path_;
};

std::shared_ptr<const Security> OpenSecurity(const std::string& directory);
std::shared_ptr<const Security> NoSecurity();

// Peers that begin as they should and do nothing then.
std::vector<std::unique_ptr<TestPeer>> Flood(const std::string& address, int connections);
int CountRefused(const std::vector<std::unique_ptr<TestPeer>>& peers);

// Its streams send back what they get, `times` of it.
class EchoService final : public v1::Replay::WithRawCallbackMethod_Insert<v1::Replay::Service> {
 public:
  grpc::Status Info(grpc::ServerContext*, const v1::InfoRequest*, v1::InfoResponse*) override {
    return grpc::Status::OK;
  }
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Insert(grpc::CallbackServerContext* context) override;

  StreamLimits limits;
  int times = 1;
  std::atomic<int> alive = 0;  // streams
};

class EchoServerTest : public ::testing::Test {
 protected:
  void SetUp() override { TakeOverGrpcLog(); }

  void Serve(const Security& security, const ServerLimits& limits = {});
  const std::string& address() const { return server_->address(); }

  absl::Status Ask(const std::shared_ptr<grpc::Channel>& channel, bool wait = false);
  absl::Status AskAs(const Security& security) { return Ask(MakeChannel(address(), security)); }

  // As it stands on the page of metrics.
  bool Counted(const std::string& reason, int at_least = 1) const;
  // A peer may feel it first.
  void AwaitCount(const std::string& reason, int at_least = 1) const;

  MetricRegistry registry_{"test"};
  RefusalCounters refusals_{registry_};
  const RpcMetrics rpcs_{registry_};
  EchoService service_;
  std::unique_ptr<GrpcServer> server_;
  const TestAuthority authority_{"authority"};
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_SECURITY_TESTING_H_
