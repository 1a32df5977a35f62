#include "learner/parameter_service.h"

#include <deque>
#include <memory>

#include "absl/strings/match.h"
#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr uint64_t V(uint64_t update) { return PackPolicyVersion(1, update); }

v1::SubscribeRequest Open(const std::string& run_id, const std::string& name, uint64_t only = 0) {
  v1::SubscribeRequest request;
  *request.mutable_peer() = MakePeer(run_id, name);
  request.set_only(only);
  return request;
}

// Confirms nothing unless it is told to.
class RawSubscriber {
 public:
  RawSubscriber(const std::string& address, const v1::SubscribeRequest& open)
      : RawSubscriber(address, ToByteBuffer(open)) {}
  RawSubscriber(const std::string& address, const grpc::ByteBuffer& open)
      : channel_(MakeChannel(address)),
        stream_(ClientStream::Open(channel_, "/headrace.v1.Parameters/Subscribe",
                                   {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                                    .closed = [this](const absl::Status& status) { OnClosed(status); }})) {
    stream_->Send(open);
  }

  void Confirm(uint64_t version) {
    v1::SubscribeRequest request;
    request.set_received(version);
    stream_->Send(ToByteBuffer(request));
  }

  // The version of the next frame with a header; 0 if the stream ended before one.
  uint64_t NextVersion() {
    MutexLock lock(&mutex_);
    while (versions_.empty() && !closed_) changed_.Wait(&mutex_);
    if (versions_.empty()) return 0;
    const uint64_t version = versions_.front();
    versions_.pop_front();
    return version;
  }

  absl::Status End() {
    MutexLock lock(&mutex_);
    while (!closed_) changed_.Wait(&mutex_);
    return status_;
  }

 private:
  void OnMessage(const grpc::ByteBuffer& message) {
    v1::WeightsFrame frame;
    ASSERT_TRUE(FromByteBuffer(message, frame).ok());
    if (!frame.has_header()) return;
    MutexLock lock(&mutex_);
    versions_.push_back(frame.header().version());
    changed_.NotifyAll();
  }
  void OnClosed(const absl::Status& status) {
    MutexLock lock(&mutex_);
    closed_ = true;
    status_ = status;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<uint64_t> versions_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<ClientStream> stream_;
};

class ParameterServiceTest : public testing::Test {
 protected:
  ParameterServiceTest() : server_(*GrpcServer::Start("127.0.0.1:0", {&service_})) {}

  RawSubscriber Subscribe(const std::string& name, uint64_t only = 0) {
    return RawSubscriber(server_->address(), Open("run", name, only));
  }

  ParameterService service_{"run"};
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(ParameterServiceTest, SendsTheNewestVersionAtOnce) {
  service_.Publish(V(1), 100, "one");
  service_.Publish(V(2), 200, "two");
  EXPECT_EQ(Subscribe("actor 0").NextVersion(), V(2));
}

TEST_F(ParameterServiceTest, SendsEachVersionToThoseWhoHaveConfirmedTheOneBefore) {
  RawSubscriber subscriber = Subscribe("actor 0");
  service_.Publish(V(1), 100, "one");
  ASSERT_EQ(subscriber.NextVersion(), V(1));
  subscriber.Confirm(V(1));
  service_.Publish(V(2), 200, "two");
  EXPECT_EQ(subscriber.NextVersion(), V(2));
}

TEST_F(ParameterServiceTest, SubscriberThatDoesNotConfirmSkipsVersionsAndDelaysNobody) {
  service_.Publish(V(1), 100, "weights");
  RawSubscriber slow = Subscribe("slow");
  RawSubscriber fast = Subscribe("fast");
  ASSERT_EQ(slow.NextVersion(), V(1));
  ASSERT_EQ(fast.NextVersion(), V(1));
  for (uint64_t update = 2; update <= 20; ++update) {
    fast.Confirm(V(update - 1));
    service_.Publish(V(update), 100 * update, "weights");
    ASSERT_EQ(fast.NextVersion(), V(update));
  }
  // 19 versions later nothing more was sent to the slow one: what it gets next is the newest.
  slow.Confirm(V(1));
  EXPECT_EQ(slow.NextVersion(), V(20));
}

TEST_F(ParameterServiceTest, ServesAHeldVersionUntilItIsReleased) {
  service_.Publish(V(1), 100, "one");
  ASSERT_TRUE(service_.Hold(V(1)).has_value());
  service_.Publish(V(2), 200, "two");
  {
    RawSubscriber evaluator = Subscribe("evaluator 0", V(1));
    EXPECT_EQ(evaluator.NextVersion(), V(1));
    EXPECT_TRUE(evaluator.End().ok());
  }
  EXPECT_EQ(Subscribe("evaluator 0", V(2)).NextVersion(), V(2));  // the newest needs no hold
  service_.Release(V(1));
  const absl::Status status = Subscribe("evaluator 0", V(1)).End();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "version 1:1 is not held; the newest is 1:2");
}

TEST_F(ParameterServiceTest, HoldsOnlyTheNewestVersion) {
  EXPECT_FALSE(service_.Hold(V(1)).has_value());
  service_.Publish(V(1), 100, "one");
  EXPECT_TRUE(service_.Hold(V(1)).has_value());
  service_.Publish(V(2), 200, "two");
  service_.Publish(V(3), 300, "three");
  EXPECT_FALSE(service_.Hold(V(2)).has_value());
  const std::optional<grpc::Slice> held = service_.Hold(V(1));
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(std::string(held->begin(), held->end()), "one");
  EXPECT_EQ(held->begin(), service_.Hold(V(1))->begin()) << "it is no copy";
}

TEST_F(ParameterServiceTest, RefusesAnotherRunAndAnotherProtocolByName) {
  const absl::Status other_run = RawSubscriber(server_->address(), Open("other", "actor 7")).End();
  EXPECT_EQ(other_run.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(other_run.message(), "actor 7 belongs to run other, this process to run run");

  v1::SubscribeRequest open = Open("run", "actor 7");
  open.mutable_peer()->set_protocol_version(kProtocolVersion + 1);
  const absl::Status other_protocol = RawSubscriber(server_->address(), open).End();
  EXPECT_EQ(other_protocol.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StartsWith(other_protocol.message(), "actor 7 speaks protocol version"));
}

TEST_F(ParameterServiceTest, RefusesAFirstMessageThatIsNone) {
  const grpc::Slice garbage("\xff\xff\xff garbage");
  EXPECT_EQ(RawSubscriber(server_->address(), grpc::ByteBuffer(&garbage, 1)).End().code(),
            absl::StatusCode::kInvalidArgument);
  const absl::Status status = RawSubscriber(server_->address(), v1::SubscribeRequest()).End();
  EXPECT_EQ(status.message(), "expected the peer in a subscription's first message");
}

TEST_F(ParameterServiceTest, RefusesTheConfirmationOfAVersionThatItDidNotSend) {
  service_.Publish(V(1), 100, "one");
  RawSubscriber subscriber = Subscribe("actor 0");
  ASSERT_EQ(subscriber.NextVersion(), V(1));
  subscriber.Confirm(V(9));
  const absl::Status status = subscriber.End();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "version 1:9 was confirmed, the one sent last is 1:1, the one confirmed last 0:0");
}

TEST_F(ParameterServiceTest, CountsThoseThatStay) {
  EXPECT_EQ(service_.subscribers(), 0);
  service_.Publish(V(1), 100, "one");
  RawSubscriber first = Subscribe("actor 0");
  RawSubscriber second = Subscribe("actor 1");
  ASSERT_EQ(first.NextVersion(), V(1));
  ASSERT_EQ(second.NextVersion(), V(1));
  EXPECT_EQ(service_.subscribers(), 2);

  server_.reset();  // ends all streams
  EXPECT_EQ(service_.subscribers(), 0);
}

TEST(ParameterServiceDeathTest, PublishingTheSameVersionAgainIsABug) {
  ParameterService service("run");
  service.Publish(V(2), 200, "two");
  EXPECT_DEATH(service.Publish(V(2), 200, "two"), "check failed");
}

}  // namespace
}  // namespace headrace
