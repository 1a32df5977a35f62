#include "actor/remote_action_source.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "common/act_wire.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/protocol.h"
#include "common/server_stream.h"
#include "gtest/gtest.h"
#include "proto/inference.grpc.pb.h"

namespace headrace {
namespace {

// What the learner does with a request; no answer: it keeps silent. A status that is not OK ends the stream.
using Reply = std::function<absl::StatusOr<std::optional<v1::ActResponse>>(const v1::ActRequest&)>;

class ScriptedInference final : public v1::Inference::WithRawCallbackMethod_Act<v1::Inference::Service> {
 public:
  explicit ScriptedInference(Reply reply) : reply_(std::move(reply)) {}

 private:
  class Stream final : public ServerStream {
   public:
    explicit Stream(const Reply* reply) : reply_(reply) {}

   private:
    void OnMessage(const grpc::ByteBuffer& message) override {
      v1::ActRequest request;
      ASSERT_TRUE(FromByteBuffer(message, request).ok());
      const absl::StatusOr<std::optional<v1::ActResponse>> answer = (*reply_)(request);
      if (!answer.ok()) return Close(answer.status());
      if (answer->has_value()) Send(ToByteBuffer(**answer));
      ReadNext();
    }
    const Reply* const reply_;
  };
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Act(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, std::make_shared<Stream>(&reply_));
  }
  const Reply reply_;
};

struct Learner {
  explicit Learner(Reply reply, const std::string& listen = "127.0.0.1:0")
      : service(std::move(reply)), server(*GrpcServer::Start(listen, {&service})) {}
  ScriptedInference service;
  std::unique_ptr<GrpcServer> server;
};

std::string Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// For two lanes of one observation and one continuous action: twice the observation.
v1::ActResponse Doubled(const v1::ActRequest& request, uint64_t version) {
  std::vector<float> observations(request.observations().size() / sizeof(float));
  std::memcpy(observations.data(), request.observations().data(), request.observations().size());
  for (float& value : observations) value *= 2;
  v1::ActResponse response;
  response.set_request(request.request());
  response.set_policy_version(version);
  response.set_actions(Bytes(observations));
  response.set_log_probs(Bytes({-1, -2}));
  return response;
}

class RemoteActionSourceTest : public testing::Test {
 protected:
  std::unique_ptr<RemoteActionSource> Make(const std::string& address, v1::InferenceFallback fallback = v1::WAIT,
                                           double timeout_seconds = 60, uint32_t discrete_actions = 0) {
    RemoteActionSource::Options options;
    options.address = address;
    *options.open.mutable_peer() = MakePeer("run", "actor 3");
    options.open.mutable_observation()->set_data_type(v1::FLOAT32);
    options.open.mutable_observation()->add_shape(1);
    options.open.set_lanes(2);
    options.open.set_index(3);
    options.discrete_actions = discrete_actions;
    options.inference.set_fallback(fallback);
    options.inference.set_timeout_seconds(timeout_seconds);
    return std::make_unique<RemoteActionSource>(std::move(options), RandomStream(1), &metrics_,
                                                [this] { return stop_.load(); });
  }
  absl::StatusOr<uint64_t> Act(RemoteActionSource& source, float observation, ActMode mode = ActMode::kExplore) {
    return source.Act(at::full({2, 1}, observation, at::kFloat), mode, recurrent_state_, actions_, log_probs_);
  }
  float action(int lane) const { return actions_.const_data_ptr<float>()[lane]; }
  float log_prob(int lane) const { return log_probs_.const_data_ptr<float>()[lane]; }

  MetricRegistry registry_{"test"};
  ActorMetrics metrics_{registry_};
  std::atomic<bool> stop_ = false;
  at::Tensor recurrent_state_;  // undefined: there is none
  at::Tensor actions_ = at::zeros({2, 1}, at::kFloat);
  at::Tensor log_probs_ = at::zeros({2}, at::kFloat);
};

// It survives the learner, and an answer that does not come leaves it as it is.
TEST_F(RemoteActionSourceTest, TheRecurrentStateTravelsWithTheRequestAndComesBackWithTheAnswer) {
  std::atomic<bool> silent = false;
  Learner learner([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (request.has_open() || silent) return std::nullopt;
    v1::ActResponse response = Doubled(request, 7);
    std::vector<float> state(request.recurrent_state().size() / sizeof(float));
    std::memcpy(state.data(), request.recurrent_state().data(), request.recurrent_state().size());
    for (float& value : state) value += 1;
    response.set_recurrent_state(Bytes(state));
    return response;
  });
  recurrent_state_ = at::zeros({2, 3}, at::kFloat);
  recurrent_state_[1].fill_(10);
  const auto source = Make(learner.server->address(), v1::REPEAT_ACTION, /*timeout_seconds=*/60);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(Act(*source, 1).ok());
    EXPECT_EQ(recurrent_state_[0][2].item<float>(), static_cast<float>(i));
    EXPECT_EQ(recurrent_state_[1][0].item<float>(), static_cast<float>(10 + i));
  }
  const auto impatient = Make(learner.server->address(), v1::REPEAT_ACTION, /*timeout_seconds=*/1e-3);
  silent = true;
  ASSERT_TRUE(Act(*impatient, 1).ok());
  EXPECT_EQ(recurrent_state_[0][2].item<float>(), 3);
}

TEST_F(RemoteActionSourceTest, SaysWhoAsksAndTakesTheLearnersActions) {
  v1::ActOpen opened;
  Learner learner([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (!request.has_open()) return Doubled(request, 7);
    opened = request.open();
    return std::nullopt;
  });
  const auto source = Make(learner.server->address());
  for (int i = 1; i <= 20; ++i) {
    EXPECT_EQ(*Act(*source, static_cast<float>(i)), 7u);
    EXPECT_EQ(action(0), 2.0f * static_cast<float>(i));
    EXPECT_EQ(action(1), 2.0f * static_cast<float>(i));
  }
  EXPECT_EQ(log_prob(0), -1);
  EXPECT_EQ(log_prob(1), -2);
  EXPECT_EQ(opened.peer().name(), "actor 3");
  EXPECT_EQ(opened.lanes(), 2u);
  EXPECT_EQ(opened.index(), 3u);
}

TEST_F(RemoteActionSourceTest, DrawsRandomActionsItself) {
  Learner learner([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    EXPECT_TRUE(request.has_open());
    return std::nullopt;
  });
  const auto continuous = Make(learner.server->address());
  EXPECT_EQ(*Act(*continuous, 1, ActMode::kRandom), 0u);
  EXPECT_NE(action(0), action(1));
  EXPECT_TRUE(std::fabs(action(0)) <= 1 && std::fabs(action(1)) <= 1);
  EXPECT_FLOAT_EQ(log_prob(0), -std::log(2.0f));

  const auto discrete = Make(learner.server->address(), v1::WAIT, 60, /*discrete_actions=*/3);
  actions_ = at::zeros({2}, at::kInt);
  std::set<int32_t> drawn;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(*Act(*discrete, 1, ActMode::kRandom), 0u);
    drawn.insert(actions_.const_data_ptr<int32_t>()[i % 2]);
  }
  EXPECT_EQ(drawn, (std::set<int32_t>{0, 1, 2}));
  EXPECT_FLOAT_EQ(log_prob(1), -std::log(3.0f));
}

TEST_F(RemoteActionSourceTest, AsksAgainWhenTheLearnerReturns) {
  // The first life ends with a request unanswered.
  std::promise<void> asked;
  auto learner =
      std::make_unique<Learner>([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
        if (request.request() == 1) return Doubled(request, 7);
        if (request.request() == 2) asked.set_value();
        return std::nullopt;
      });
  const std::string address = learner->server->address();
  const auto source = Make(address);
  EXPECT_EQ(*Act(*source, 1), 7u);
  std::thread restart([&] {
    asked.get_future().wait();
    learner.reset();
    learner = std::make_unique<Learner>(
        [](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
          if (request.has_open()) return std::nullopt;
          return Doubled(request, 9);
        },
        address);
  });
  EXPECT_EQ(*Act(*source, 4), 9u);
  EXPECT_EQ(action(0), 8);
  restart.join();
}

TEST_F(RemoteActionSourceTest, TakesTheNamedFallbackWhenAnAnswerIsLate) {
  std::atomic<bool> silent = false;
  Learner learner([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (request.has_open() || silent) return std::nullopt;
    return Doubled(request, 7);
  });
  const auto patient = Make(learner.server->address());
  EXPECT_EQ(*Act(*patient, 3), 7u);
  EXPECT_EQ(action(0), 6);
  silent = true;
  const auto repeating = Make(learner.server->address(), v1::REPEAT_ACTION, 0.001);
  EXPECT_EQ(*Act(*repeating, 5), 0u);
  EXPECT_EQ(action(0), 6);
  EXPECT_EQ(log_prob(0), 0);
  EXPECT_EQ(log_prob(1), 0);
  const auto zero = Make(learner.server->address(), v1::ZERO_ACTION, 0.001);
  EXPECT_EQ(*Act(*zero, 5), 0u);
  EXPECT_EQ(action(0), 0);
  EXPECT_EQ(metrics_.fallback_steps.Value(), 4);
}

// Told to wait, it does so for longer than its timeout. Where a slow machine tells it too late, it has more time.
TEST_F(RemoteActionSourceTest, WaitsBeyondItsTimeoutWhileItIsHeldBack) {
  for (double timeout_seconds = 0.1;; timeout_seconds *= 2) {
    Learner learner([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
      if (request.has_open()) return std::nullopt;
      EXPECT_EQ(request.observations(), Bytes({4, 4}));
      if (request.request() > 1) {
        std::this_thread::sleep_for(std::chrono::duration<double>(timeout_seconds));
        return Doubled(request, 7);
      }
      v1::ActResponse told;
      told.set_request(request.request());
      told.set_status_code(static_cast<uint32_t>(kHeldBack));
      return told;
    });
    const auto source = Make(learner.server->address(), v1::ZERO_ACTION, timeout_seconds);
    const absl::StatusOr<uint64_t> version = Act(*source, 4);
    ASSERT_TRUE(version.ok());
    if (*version == 0) continue;
    EXPECT_EQ(*version, 7u);
    EXPECT_EQ(action(0), 8);
    EXPECT_GT(source->TakeAccountedSeconds(), 0);
    EXPECT_EQ(source->TakeAccountedSeconds(), 0);
    EXPECT_EQ(metrics_.held_back.Value(), 0);
    return;
  }
}

TEST_F(RemoteActionSourceTest, AWaitForActionsIsCountedWhileItLasts) {
  Learner learner([](const v1::ActRequest&) -> absl::StatusOr<std::optional<v1::ActResponse>> { return std::nullopt; });
  const auto source = Make(learner.server->address(), v1::ZERO_ACTION, /*timeout_seconds=*/60);
  std::thread waiting([&] { EXPECT_TRUE(absl::IsCancelled(Act(*source, 1).status())); });
  while (metrics_.policy_seconds.Value() == 0) std::this_thread::yield();
  stop_ = true;
  waiting.join();
  EXPECT_EQ(source->TakeAccountedSeconds(), metrics_.policy_seconds.Value());
}

TEST_F(RemoteActionSourceTest, StopsWhileItIsHeldBack) {
  Learner learner([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (request.request() != 1) return std::nullopt;
    stop_ = true;
    v1::ActResponse told;
    told.set_request(1);
    told.set_status_code(static_cast<uint32_t>(kHeldBack));
    return told;
  });
  const auto source = Make(learner.server->address(), v1::ZERO_ACTION, /*timeout_seconds=*/60);
  EXPECT_TRUE(absl::IsCancelled(Act(*source, 1).status()));
}

TEST_F(RemoteActionSourceTest, DropsTheAnswerToARequestThatWasGivenUp) {
  std::optional<v1::ActRequest> late;
  Learner learner([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (request.has_open()) return std::nullopt;
    // Answers each request with the one before, but the last one.
    const std::optional<v1::ActRequest> before = std::exchange(late, request);
    if (request.request() >= 3) return Doubled(request, 7);
    if (!before.has_value()) return std::nullopt;
    return Doubled(*before, 3);
  });
  const auto hasty = Make(learner.server->address(), v1::ZERO_ACTION, 0.05);
  EXPECT_EQ(*Act(*hasty, 1), 0u);
  EXPECT_EQ(*Act(*hasty, 2), 0u);
  absl::StatusOr<uint64_t> version = 0u;
  while (*version == 0) version = Act(*hasty, 3);
  EXPECT_EQ(*version, 7u);
  EXPECT_EQ(action(0), 6);
}

TEST_F(RemoteActionSourceTest, IsRefusedForGood) {
  Learner learner([](const v1::ActRequest&) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    return absl::FailedPreconditionError("another run");
  });
  const auto source = Make(learner.server->address(), v1::ZERO_ACTION, 60);
  EXPECT_EQ(Act(*source, 1).status(), absl::FailedPreconditionError("another run"));
  EXPECT_EQ(Act(*source, 1, ActMode::kRandom).status(), absl::FailedPreconditionError("another run"));
}

TEST_F(RemoteActionSourceTest, RefusesActionsThatDoNotFit) {
  Learner learner([](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (request.has_open()) return std::nullopt;
    v1::ActResponse response = Doubled(request, 1);
    response.set_actions(Bytes({1}));
    return response;
  });
  const auto source = Make(learner.server->address());
  EXPECT_EQ(Act(*source, 1).status(), absl::InternalError("expected actions of 8 bytes from the learner, got 4"));
}

TEST_F(RemoteActionSourceTest, ReportsWhatTheLearnerCouldNotCompute) {
  Learner learner([](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (request.has_open()) return std::nullopt;
    v1::ActResponse response;
    response.set_request(request.request());
    response.set_status_code(static_cast<uint32_t>(absl::StatusCode::kInternal));
    response.set_status_message("weights that do not fit");
    return response;
  });
  const auto source = Make(learner.server->address());
  EXPECT_EQ(Act(*source, 1).status(), absl::InternalError("the learner has no actions: weights that do not fit"));
}

TEST_F(RemoteActionSourceTest, StopsWhileNobodyAnswers) {
  std::promise<void> asked;
  Learner silent([&](const v1::ActRequest& request) -> absl::StatusOr<std::optional<v1::ActResponse>> {
    if (request.request() == 1) asked.set_value();
    return std::nullopt;
  });
  const auto source = Make(silent.server->address());
  std::thread stopper([&] {
    asked.get_future().wait();
    stop_ = true;
  });
  EXPECT_TRUE(absl::IsCancelled(Act(*source, 1).status()));
  stopper.join();
}

}  // namespace
}  // namespace headrace
