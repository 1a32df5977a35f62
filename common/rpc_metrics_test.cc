#include "common/rpc_metrics.h"

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/server_stream.h"
#include "common/test_peer.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"
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

// Streams that send back what they get.
class Echoing final : public v1::Replay::WithRawCallbackMethod_Insert<v1::Replay::Service> {
 public:
  std::atomic<int> opened = 0;

 private:
  class Stream final : public ServerStream {
    void OnMessage(const grpc::ByteBuffer& message) override {
      Send(message);
      ReadNext();
    }
  };
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Insert(grpc::CallbackServerContext* context) override {
    ++opened;
    return ServerStream::Start(context, std::make_shared<Stream>());
  }
};

class RpcMetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<GrpcServer>> server =
        GrpcServer::Start("127.0.0.1:0", {&refusing_, &echoing_}, &metrics_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // A stream of one message of that many bytes; its end.
  absl::Status Call(const std::string& path, size_t bytes = 1) {
    grpc::ChannelArguments unlimited;
    unlimited.SetMaxSendMessageSize(-1);
    std::promise<absl::Status> closed;
    const auto stream = ClientStream::Open(
        grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), unlimited), path,
        {.message = [](const grpc::ByteBuffer&) {}, .closed = [&](const absl::Status& s) { closed.set_value(s); }});
    const grpc::Slice message(std::string(bytes, 'x'));
    stream->Send(grpc::ByteBuffer(&message, 1));
    stream->FinishSending();
    return closed.get_future().get();
  }

  // A client hears of the end of a call before it is counted.
  void WaitFor(const std::string& method, const std::string& code, int calls) {
    WaitFor(absl::StrCat("headrace_rpc_ended_total{code=\"", code, "\",method=\"", method, "\"} ", calls, "\n"));
  }
  void WaitFor(const std::string& line) {
    while (!absl::StrContains(registry_.Text(), line)) std::this_thread::yield();
  }

  MetricRegistry registry_{"test"};
  const RpcMetrics metrics_{registry_};
  Refusing refusing_;
  Echoing echoing_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(RpcMetricsTest, CallsAreCountedByMethodAndCode) {
  const auto stub = v1::Run::NewStub(MakeChannel(server_->address()));
  for (int call = 0; call < 3; ++call) {
    grpc::ClientContext context;
    v1::RunStatus status;
    (void)stub->Status(&context, {}, &status);
  }
  WaitFor("Run/Status", "INVALID_ARGUMENT", 1);
  WaitFor("Run/Status", "OK", 2);
  EXPECT_TRUE(Call("/headrace.v1.Replay/Insert").ok());
  WaitFor("Replay/Insert", "OK", 1);
}

// Each name that somebody typed once had a series of its own, for as long as the process lived.
TEST_F(RpcMetricsTest, MethodsThatNobodyKnowsAreCountedAsOne) {
  for (const char* const path : {"/headrace.v1.Replay/Typo", "/headrace.v1.Typo/Insert", "/a/b", "/", "//", "/x.y"}) {
    const absl::Status status = Call(path);
    EXPECT_TRUE(absl::IsUnimplemented(status)) << path << ": " << status;
  }
  WaitFor("other", "UNIMPLEMENTED", 6);
  EXPECT_FALSE(absl::StrContains(registry_.Text(), "Typo"));
}

// What gRPC itself cut off was once taken for the end that a client gives its stream, and counted as OK.
TEST_F(RpcMetricsTest, StreamsThatBreakAreNotOk) {
  EXPECT_TRUE(absl::IsResourceExhausted(Call("/headrace.v1.Replay/Insert", (size_t{64} << 20) + 1)));
  WaitFor("Replay/Insert", "RESOURCE_EXHAUSTED", 1);
  // So large that gRPC does not give it to the service.
  EXPECT_TRUE(absl::IsResourceExhausted(Call("/headrace.v1.Replay/Insert", size_t{130} << 20)));
  WaitFor("Replay/Insert", "CANCELLED", 1);
}

// gRPC ends a unary call whose request is too large before anything of ours is asked.
TEST_F(RpcMetricsTest, CallsThatComeToNoServiceAreUnheard) {
  WaitFor("headrace_rpc_unheard_calls 0\n");
  for (int call = 0; call < 3; ++call) {
    const absl::Status status = Call("/headrace.v1.Run/Status", size_t{130} << 20);
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  }
  EXPECT_TRUE(Call("/headrace.v1.Replay/Insert").ok());
  WaitFor("headrace_rpc_unheard_calls 3\n");
  TestPeer client(server_->address());
  client.Send(Http2Call("/headrace.v1.Run/Status"));  // its request does not come
  WaitFor("headrace_rpc_unheard_calls 4\n");
}

TEST_F(RpcMetricsTest, StreamsOfAClientThatDiesAreCancelled) {
  {
    TestPeer client(server_->address());
    client.Send(Http2Call("/headrace.v1.Replay/Insert"));
    while (echoing_.opened < 1) std::this_thread::yield();
  }
  WaitFor("Replay/Insert", "CANCELLED", 1);
}

TEST_F(RpcMetricsTest, ARequestThatIsNoneIsTheFaultOfTheClient) {
  const absl::Status status = Call("/headrace.v1.Run/Status");
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "expected a headrace.v1.StatusRequest")) << status;
  WaitFor("Run/Status", "INVALID_ARGUMENT", 1);
}

}  // namespace
}  // namespace headrace
