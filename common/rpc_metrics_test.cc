#include "common/rpc_metrics.h"

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "proto/run.grpc.pb.h"
#include "proto/run.pb.h"

namespace headrace {
namespace {

// Refuses the first call.
class Refusing final : public v1::Run::Service {
  grpc::Status Status(grpc::ServerContext*, const v1::StatusRequest*, v1::RunStatus*) override {
    return ++calls_ == 1 ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no") : grpc::Status::OK;
  }
  int calls_ = 0;
};

TEST(RpcMetricsTest, CallsAreCountedByMethodAndCode) {
  MetricRegistry registry("test");
  const RpcMetrics metrics(registry);
  Refusing service;
  const auto server = GrpcServer::Start("127.0.0.1:0", {&service}, &metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto stub = v1::Run::NewStub(MakeChannel((*server)->address()));
  for (int call = 0; call < 3; ++call) {
    grpc::ClientContext context;
    v1::RunStatus status;
    (void)stub->Status(&context, {}, &status);
  }
  const std::string page = registry.Text();
  const auto has = [&page](const std::string& code, int calls) {
    return absl::StrContains(
        page, "headrace_rpc_ended_total{code=\"" + code + "\",method=\"Run/Status\"} " + std::to_string(calls) + "\n");
  };
  EXPECT_TRUE(has("INVALID_ARGUMENT", 1)) << page;
  EXPECT_TRUE(has("OK", 2)) << page;
}

}  // namespace
}  // namespace headrace
