// A client of gradients against the learner's real service.
#include "actor/gradient_client.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/protocol.h"
#include "gtest/gtest.h"
#include "learner/gradient_service.h"

namespace headrace {
namespace {

v1::LearnerIdentity Identity() {
  v1::LearnerIdentity identity;
  identity.set_run_id("run");
  return identity;
}

// The learner's half, for one parameter. It can die and come back on the same port.
struct Learner {
  explicit Learner(uint64_t version, const std::string& listen = "127.0.0.1:0")
      : server(*GrpcServer::Start(listen, {&service})) {
    service.Open({1});
    Publish(version);
  }
  void Publish(uint64_t version) { service.Publish(version, "weights " + std::to_string(version)); }
  GradientPush Next() {
    std::optional<GradientPush> push = service.Next(std::chrono::steady_clock::now() + std::chrono::minutes(1));
    EXPECT_TRUE(push.has_value());
    return push.value_or(GradientPush());
  }

  MetricRegistry registry{"learner"};
  GradientService service{Identity(), registry};
  std::unique_ptr<GrpcServer> server;
};

class GradientClientTest : public testing::Test {
 protected:
  std::unique_ptr<GradientClient> Connect(const std::string& address, const std::string& run_id = "run") {
    v1::PushOpen open;
    *open.mutable_peer() = MakePeer(run_id, "actor 0");
    open.set_pusher(7);
    return std::make_unique<GradientClient>(address, open, [this] { return stop_.load(); });
  }
  static v1::PushRequest Gradient() {
    v1::PushRequest request;
    request.set_gradients(std::string(sizeof(float), '\0'));
    return request;
  }

  std::atomic<bool> stop_ = false;
  prometheus::Counter waiting_seconds_;
};

TEST_F(GradientClientTest, GetsTheFirstWeightsAndNewerOnesForEachGradient) {
  Learner learner(5);
  const std::unique_ptr<GradientClient> client = Connect(learner.server->address());
  const absl::StatusOr<v1::PushResponse> first = client->WaitForWeights();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->policy_version(), 5);
  EXPECT_EQ(first->weights(), "weights 5");
  for (uint64_t number = 1; number <= 3; ++number) {
    std::thread answering([&] {
      const GradientPush push = learner.Next();
      learner.Publish(5 + number);
      learner.service.Answer(push, v1::APPLIED);
    });
    v1::PushRequest gradient = Gradient();
    const absl::StatusOr<v1::PushResponse> answer = client->Push(gradient, &waiting_seconds_);
    answering.join();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->number(), number);
    EXPECT_EQ(answer->weights(), "weights " + std::to_string(5 + number));
  }
  EXPECT_EQ(client->reconnects(), 0u);
}

TEST_F(GradientClientTest, AGradientUnderWayIsSentAgainToALearnerThatReturns) {
  auto learner = std::make_unique<Learner>(5);
  const std::string address = learner->server->address();
  const std::unique_ptr<GradientClient> client = Connect(address);
  ASSERT_TRUE(client->WaitForWeights().ok());
  std::thread restart([&] {
    EXPECT_EQ(learner->Next().request.number(), 1u);  // and is never answered
    learner.reset();
    learner = std::make_unique<Learner>(6, address);
    const GradientPush again = learner->Next();
    EXPECT_EQ(again.request.number(), 1u);
    EXPECT_EQ(again.pusher, 7u);
    learner->service.Answer(again, v1::STALE);
  });
  v1::PushRequest gradient = Gradient();
  const absl::StatusOr<v1::PushResponse> answer = client->Push(gradient, &waiting_seconds_);
  restart.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->number(), 1u);
  EXPECT_EQ(answer->verdict(), v1::STALE) << "not the answer to the stream that was opened anew";
  EXPECT_EQ(client->reconnects(), 1u);
}

TEST_F(GradientClientTest, ALearnerOfAnotherRunRefusesItForGood) {
  Learner learner(5);
  const std::unique_ptr<GradientClient> client = Connect(learner.server->address(), "another");
  EXPECT_TRUE(absl::IsFailedPrecondition(client->WaitForWeights().status()));
  v1::PushRequest gradient = Gradient();
  EXPECT_TRUE(absl::IsFailedPrecondition(client->Push(gradient, &waiting_seconds_).status()));
}

TEST_F(GradientClientTest, AWaitForAnAnswerIsCountedWhileItLasts) {
  Learner learner(5);
  const std::unique_ptr<GradientClient> client = Connect(learner.server->address());
  ASSERT_TRUE(client->WaitForWeights().ok());
  std::thread waiting([&] {
    v1::PushRequest gradient = Gradient();
    EXPECT_TRUE(absl::IsCancelled(client->Push(gradient, &waiting_seconds_).status()));
  });
  while (waiting_seconds_.Value() == 0) std::this_thread::yield();
  stop_ = true;
  waiting.join();
}

TEST_F(GradientClientTest, AWaitForAnAnswerEndsWhenTheActorIsToStop) {
  Learner learner(5);
  const std::unique_ptr<GradientClient> client = Connect(learner.server->address());
  ASSERT_TRUE(client->WaitForWeights().ok());
  stop_ = true;
  v1::PushRequest gradient = Gradient();
  EXPECT_TRUE(absl::IsCancelled(client->Push(gradient, &waiting_seconds_).status()));
}

}  // namespace
}  // namespace headrace
