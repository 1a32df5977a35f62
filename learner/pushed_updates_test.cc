// Gradients over a real connection, against steps worked by hand.
#include "learner/pushed_updates.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ATen/ops/empty.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/weights.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

constexpr double kRate = 0.1, kDecay = 0.9, kEpsilon = 1e-3;

// Two numbers that somebody else's gradients step; counts how often.
class TwoNumbers : public Algorithm {
 public:
  std::vector<ParameterGroup> ParameterGroups() override {
    v1::OptimizerOptions options;
    options.set_kind(v1::RMSPROP_EPSILON_INSIDE);
    options.set_learning_rate(learning_rate);
    options.set_decay(kDecay);
    options.set_epsilon(kEpsilon);
    return {{"numbers", {numbers_}, options}};
  }
  void Update(const Batch&, GradientSink&) override {}
  void AfterUpdate(double) override { applied_.add_(1); }
  std::vector<NamedTensor> PolicyTensors() const override { return {{"numbers", numbers_}}; }
  std::vector<NamedTensor> StateTensors() const override { return {{"numbers", numbers_}, {"applied", applied_}}; }
  const std::vector<std::string>& MetricNames() const override {
    static const auto* const names = new std::vector<std::string>{"losses/value"};
    return *names;
  }
  at::Tensor Metrics() const override { return at::zeros({1}); }

  double learning_rate = kRate;

 private:
  at::Tensor numbers_ = at::tensor({1.0f, 2.0f});
  at::Tensor applied_ = at::zeros({});
};

// The step of RMSProp with its epsilon inside the root, for one number.
struct RmsProp {
  double mean_square = 0;
  double Step(double gradient) {
    mean_square = kDecay * mean_square + (1 - kDecay) * gradient * gradient;
    return -kRate * gradient / std::sqrt(mean_square + kEpsilon);
  }
};

std::chrono::steady_clock::time_point Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(60); }

class PushedUpdatesTest : public ::testing::Test {
 protected:
  void Start(const v1::GradientConfig& config, size_t optimizers = 1) {
    const std::vector<ParameterGroup> groups = algorithm_.ParameterGroups();
    for (size_t i = 0; i < optimizers; ++i) optimizers_.emplace_back(groups);
    auto updates =
        PushedUpdates::Start(config, 1000, PackPolicyVersion(1, 0), groups, &algorithm_, &optimizers_, &service_);
    ASSERT_TRUE(updates.ok()) << updates.status();
    updates_ = *std::move(updates);
  }

  // What the learner does with the next gradient; true: it was applied.
  bool Learn() {
    const UpdateSource::Moment moment = {.version = PackPolicyVersion(1, version_)};
    const absl::StatusOr<UpdateSource::Arrival> arrival = updates_->Next(moment, Soon());
    EXPECT_TRUE(arrival.ok()) << arrival.status();
    if (!arrival.ok() || !arrival->usable) return false;
    EXPECT_TRUE(updates_->Update(moment).ok());
    ++version_;
    updates_->Done({.version = PackPolicyVersion(1, version_)});
    return true;
  }

  static v1::LearnerIdentity Identity() {
    v1::LearnerIdentity identity;
    identity.set_run_id("run");
    identity.set_incarnation(1);
    return identity;
  }

  TwoNumbers algorithm_;
  std::vector<LocalOptimizer> optimizers_;
  MetricRegistry registry_{"learner"};
  GradientService service_{Identity(), registry_};
  std::unique_ptr<GrpcServer> server_ = *GrpcServer::Start("127.0.0.1:0", {&service_});
  std::unique_ptr<PushedUpdates> updates_;
  uint64_t version_ = 0;
};

class Pusher {
 public:
  Pusher(const std::string& address, uint32_t index, const std::string& run_id = "run")
      : stub_(v1::Gradients::NewStub(MakeChannel(address))), stream_(stub_->Push(&context_)) {
    v1::PushRequest open;
    *open.mutable_open()->mutable_peer() = MakePeer(run_id, "actor");
    open.mutable_open()->set_index(index);
    open.mutable_open()->set_pusher(100 + index);
    stream_->Write(open);
  }
  ~Pusher() { context_.TryCancel(); }

  void Push(uint64_t number, std::vector<float> gradients, uint64_t version = 0, uint64_t steps = 5) {
    v1::PushRequest request;
    request.set_number(number);
    request.set_policy_version(PackPolicyVersion(1, version));
    request.set_env_steps(steps);
    request.mutable_gradients()->assign(reinterpret_cast<const char*>(gradients.data()),
                                        gradients.size() * sizeof(float));
    stream_->Write(request);
  }
  v1::PushResponse Answer() {
    v1::PushResponse response;
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  grpc::Status End() {
    v1::PushResponse response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }

 private:
  grpc::ClientContext context_;
  const std::unique_ptr<v1::Gradients::Stub> stub_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::PushRequest, v1::PushResponse>> stream_;
};

std::vector<float> NumbersIn(const v1::PushResponse& response) {
  const at::Tensor numbers = at::zeros({2});
  EXPECT_TRUE(LoadTensors(response.weights(), {{"numbers", numbers}}, {"applied"}).ok());
  return {numbers.data_ptr<float>()[0], numbers.data_ptr<float>()[1]};
}

TEST_F(PushedUpdatesTest, StepsByWhatIsPushedAndAnswersWithTheResult) {
  Start({});
  Pusher pusher(server_->address(), 0);
  const v1::PushResponse first = pusher.Answer();
  EXPECT_EQ(first.number(), 0);
  EXPECT_EQ(first.policy_version(), PackPolicyVersion(1, 0));
  EXPECT_EQ(NumbersIn(first), (std::vector<float>{1, 2}));
  RmsProp a, b;
  double x = 1, y = 2;
  for (uint64_t number = 1; number <= 3; ++number) {
    const auto g = static_cast<float>(number);
    pusher.Push(number, {g, -2 * g}, number - 1);
    ASSERT_TRUE(Learn());
    x += a.Step(g);
    y += b.Step(-2 * g);
    const v1::PushResponse answer = pusher.Answer();
    EXPECT_EQ(answer.number(), number);
    EXPECT_EQ(answer.verdict(), v1::APPLIED);
    EXPECT_EQ(answer.policy_version(), PackPolicyVersion(1, number));
    EXPECT_NEAR(NumbersIn(answer)[0], x, 1e-6);
    EXPECT_NEAR(NumbersIn(answer)[1], y, 1e-6);
  }
  EXPECT_EQ(updates_->env_steps(), 1015);
  EXPECT_EQ(updates_->policy_lag(), 0);
  EXPECT_EQ(algorithm_.StateTensors()[1].tensor.item<float>(), 3);
}

TEST_F(PushedUpdatesTest, ActorsShareStatisticsOrHaveTheirOwn) {
  for (const bool shared : {true, false}) {
    TwoNumbers algorithm;
    const std::vector<ParameterGroup> groups = algorithm.ParameterGroups();
    std::vector<LocalOptimizer> optimizers;
    for (int i = 0; i < (shared ? 1 : 2); ++i) optimizers.emplace_back(groups);
    MetricRegistry registry("learner");
    GradientService service(Identity(), registry);
    const auto server = *GrpcServer::Start("127.0.0.1:0", {&service});
    const auto updates =
        *PushedUpdates::Start({}, 0, PackPolicyVersion(1, 0), groups, &algorithm, &optimizers, &service);
    Pusher zero(server->address(), 0), one(server->address(), 1);
    RmsProp of_zero, of_one;
    double x = 1;
    for (const bool first : {true, false}) {
      (first ? zero : one).Push(1, {first ? 10.0f : 0.5f, 0});
      const UpdateSource::Moment moment = {.version = PackPolicyVersion(1, first ? 0 : 1)};
      ASSERT_TRUE(updates->Next(moment, Soon())->usable);
      ASSERT_TRUE(updates->Update(moment).ok());
      x += (first || shared ? of_zero : of_one).Step(first ? 10 : 0.5);
    }
    EXPECT_NEAR(algorithm.PolicyTensors()[0].tensor[0].item<double>(), x, 1e-6) << shared;
  }
}

TEST_F(PushedUpdatesTest, WhatIsTooOldIsDroppedAndItsStepsCount) {
  v1::GradientConfig config;
  config.set_max_staleness(2);
  Start(config);
  Pusher pusher(server_->address(), 0);
  pusher.Answer();
  version_ = 5;
  pusher.Push(1, {1, 1}, /*version=*/2);  // three updates behind
  EXPECT_FALSE(Learn());
  EXPECT_EQ(pusher.Answer().verdict(), v1::STALE);
  EXPECT_EQ(algorithm_.PolicyTensors()[0].tensor[0].item<float>(), 1);
  EXPECT_EQ(updates_->env_steps(), 1005);
  pusher.Push(1, {1, 1}, /*version=*/3);  // as if the answer had been lost: what was said of it stands
  EXPECT_FALSE(Learn());
  EXPECT_EQ(pusher.Answer().verdict(), v1::STALE);
  EXPECT_EQ(updates_->env_steps(), 1005);
  EXPECT_THAT(registry_.Text(), HasSubstr("headrace_gradients_total{verdict=\"stale\"} 1\n"));
  pusher.Push(2, {1, 1}, /*version=*/3);
  EXPECT_TRUE(Learn());
  EXPECT_EQ(pusher.Answer().verdict(), v1::APPLIED);
}

// A learner that was killed goes on from a checkpoint, and is behind the actors.
TEST_F(PushedUpdatesTest, WhatIsAheadOfAResumedLearnerIsNotTooOld) {
  v1::GradientConfig config;
  config.set_max_staleness(2);
  Start(config);
  Pusher pusher(server_->address(), 0);
  pusher.Answer();
  const UpdateSource::Moment moment = {.version = PackPolicyVersion(2, 50)};
  pusher.Push(1, {1, 1}, /*version=*/100);  // of the first life
  ASSERT_TRUE(updates_->Next(moment, Soon())->usable);
  ASSERT_TRUE(updates_->Update(moment).ok());
  EXPECT_EQ(pusher.Answer().verdict(), v1::APPLIED);
  pusher.Push(2, {1, 1}, /*version=*/40);
  EXPECT_FALSE(updates_->Next(moment, Soon())->usable);
  EXPECT_EQ(pusher.Answer().verdict(), v1::STALE);
}

TEST_F(PushedUpdatesTest, WhatIsNotFiniteIsDroppedAndLeavesTheStatisticsAlone) {
  Start({});
  Pusher pusher(server_->address(), 0);
  pusher.Answer();
  uint64_t number = 0;
  for (const float value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    pusher.Push(++number, {1, value});
    EXPECT_FALSE(Learn());
    const v1::PushResponse answer = pusher.Answer();
    EXPECT_EQ(answer.verdict(), v1::NOT_FINITE);
    EXPECT_EQ(NumbersIn(answer), (std::vector<float>{1, 2}));
  }
  EXPECT_THAT(registry_.Text(), HasSubstr("headrace_gradients_total{verdict=\"not_finite\"} 2\n"));
  RmsProp a, b;
  pusher.Push(++number, {3, -1});
  EXPECT_TRUE(Learn());
  const v1::PushResponse answer = pusher.Answer();
  EXPECT_NEAR(NumbersIn(answer)[0], 1 + a.Step(3), 1e-6);
  EXPECT_NEAR(NumbersIn(answer)[1], 2 + b.Step(-1), 1e-6);
}

// The average of squares used to become infinite with it, and nothing was learned any more.
TEST_F(PushedUpdatesTest, AGradientWhoseSquareIsNotFiniteIsDroppedAndTheNextIsLearnedFrom) {
  Start({});
  Pusher pusher(server_->address(), 0);
  pusher.Answer();
  pusher.Push(1, {1e21f, 1});
  EXPECT_FALSE(Learn());
  EXPECT_EQ(pusher.Answer().verdict(), v1::NOT_FINITE);
  pusher.Push(2, {2, 1});
  EXPECT_TRUE(Learn());
  EXPECT_LT(NumbersIn(pusher.Answer())[0], 1);
}

// Infinite parameters reached actors before the learner noticed when it published the policy.
TEST_F(PushedUpdatesTest, ParametersThatAreNotFiniteEndTrainingAndReachNobody) {
  algorithm_.learning_rate = 3e38;  // three times that is more than a float holds
  Start({});
  Pusher pusher(server_->address(), 0);
  pusher.Push(1, {1, 1});
  const UpdateSource::Moment moment = {.version = PackPolicyVersion(1, 6)};
  ASSERT_TRUE(updates_->Next(moment, Soon())->usable);
  const absl::Status status = updates_->Update(moment);
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("after 7 updates numbers is not finite; losses/value 0"));
  EXPECT_EQ(NumbersIn(Pusher(server_->address(), 1).Answer()), (std::vector<float>{1, 2}));
}

TEST_F(PushedUpdatesTest, AGradientThatIsSentAgainIsAppliedOnce) {
  Start({});
  {
    Pusher lost(server_->address(), 0);
    lost.Push(1, {1, 1});
    EXPECT_TRUE(Learn());
  }
  const float after = algorithm_.PolicyTensors()[0].tensor[0].item<float>();
  Pusher again(server_->address(), 0);
  again.Push(1, {1, 1});
  EXPECT_FALSE(Learn());
  EXPECT_EQ(again.Answer().number(), 0);
  EXPECT_EQ(again.Answer().verdict(), v1::APPLIED);
  EXPECT_EQ(algorithm_.PolicyTensors()[0].tensor[0].item<float>(), after);
  EXPECT_EQ(updates_->env_steps(), 1005);
}

TEST(PushedUpdatesSizeTest, StateThatNoMessageCanHoldIsRefusedByTheNameOfItsField) {
  const auto check = [](int64_t numbers) {
    return PushedUpdates::CheckSize("actor_critic", {{"network", at::empty({numbers}, at::kFloat)}});
  };
  EXPECT_TRUE(check(8 << 20).ok());
  const absl::Status refused = check(16 << 20);
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(refused.message(), HasSubstr("actor_critic.network: with topology ASYNCHRONOUS_GRADIENTS"));
  EXPECT_THAT(refused.message(), HasSubstr("expected at most 66060288 bytes, got 67108864"));
}

TEST_F(PushedUpdatesTest, NobodyIsServedBeforeThereAreWeights) {
  EXPECT_EQ(Pusher(server_->address(), 0).End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(PushedUpdatesTest, WhoeverDoesNotFitIsRefusedAlone) {
  Start({});
  Pusher good(server_->address(), 0);
  good.Answer();
  Pusher small(server_->address(), 1);
  small.Push(1, {1});
  const grpc::Status refused = small.End();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("expected gradients of 8 bytes (2 numbers), got 4"));
  EXPECT_EQ(Pusher(server_->address(), 2, "another").End().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(registry_.Text(), HasSubstr("headrace_gradients_refused_total 2\n"));
  good.Push(1, {1, 1});
  EXPECT_TRUE(Learn());
  EXPECT_EQ(good.Answer().verdict(), v1::APPLIED);
}

TEST_F(PushedUpdatesTest, AnActorThatVanishesHurtsNobody) {
  Start({});
  const UpdateSource::Moment moment = {.version = PackPolicyVersion(1, 0)};
  {
    Pusher gone(server_->address(), 0);
    gone.Push(1, {1, 1});
    ASSERT_TRUE(updates_->Next(moment, Soon())->usable);
  }
  while (service_.clients() > 0) std::this_thread::yield();
  ASSERT_TRUE(updates_->Update(moment).ok());  // its answer has nobody to go to
  Pusher next(server_->address(), 1);
  EXPECT_EQ(next.Answer().number(), 0);
  next.Push(1, {1, 1}, 1);
  EXPECT_TRUE(Learn());
  EXPECT_EQ(next.Answer().verdict(), v1::APPLIED);
}

}  // namespace
}  // namespace headrace
