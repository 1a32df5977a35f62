// A policy that acts here, on weights from a real parameter service.
#include "actor/action_source.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "gtest/gtest.h"
#include "learner/parameter_service.h"
#include "model/weights.h"

namespace headrace {
namespace {

constexpr uint64_t V(uint64_t update) { return PackPolicyVersion(1, update); }

// Acts with its only weight.
class WeightPolicy : public Policy {
 public:
  void Act(const at::Tensor&, ActMode, RandomStream&, at::Tensor&, at::Tensor& actions, at::Tensor&) override {
    actions.fill_(weight_);
  }
  std::vector<NamedTensor> Tensors() const override { return {{"weight", weight_}}; }

 private:
  at::Tensor weight_ = at::zeros({}, at::kFloat);
};

class LocalActionSourceTest : public testing::Test {
 protected:
  void Start(const LocalActionSource::Options& options) {
    source_ = std::make_unique<LocalActionSource>(std::make_unique<WeightPolicy>(), &subscriber_, RandomStream(1),
                                                  options, &metrics_, [this] { return stop_.load(); });
  }
  // Weights of that number, which are here when this returns.
  void Receive(uint64_t update) {
    const absl::StatusOr<std::string> file =
        SaveTensors({{"weight", at::full({}, static_cast<double>(update), at::kFloat)}}, {});
    ASSERT_TRUE(file.ok()) << file.status();
    service_.Publish(V(update), 0, *file);
    ASSERT_TRUE(subscriber_.WaitFor(V(update), std::chrono::steady_clock::now() + std::chrono::minutes(1)).ok());
  }
  // The update whose weights chose the action.
  uint64_t Act(ActMode mode = ActMode::kExplore) {
    at::Tensor state, log_probs;
    const absl::StatusOr<uint64_t> version = source_->Act(at::zeros({1, 1}), mode, state, actions_, log_probs);
    EXPECT_TRUE(version.ok()) << version.status();
    if (!version.ok() || *version == 0) return 0;
    EXPECT_EQ(actions_.item<float>(), static_cast<float>(PolicyUpdate(*version)));
    return PolicyUpdate(*version);
  }

  ParameterService service_{"run"};
  const std::unique_ptr<GrpcServer> server_ = *GrpcServer::Start("127.0.0.1:0", {&service_});
  ParameterSubscriber subscriber_{server_->address(), MakePeer("run", "actor 0")};
  MetricRegistry registry_{"actor"};
  ActorMetrics metrics_{registry_};
  std::atomic<bool> stop_ = false;
  at::Tensor actions_ = at::zeros({1, 1}, at::kFloat);
  std::unique_ptr<LocalActionSource> source_;
};

TEST_F(LocalActionSourceTest, ActsWithTheNewestWeights) {
  Start({});
  EXPECT_EQ(Act(ActMode::kRandom), 0u) << "for which it needs none";
  for (const uint64_t update : {1, 2, 7}) {
    Receive(update);
    EXPECT_EQ(Act(), update);
    EXPECT_EQ(Act(), update);
    EXPECT_EQ(metrics_.policy_version.Value(), static_cast<double>(update));
  }
}

TEST_F(LocalActionSourceTest, KeepsItsWeightsForARound) {
  Start({.round_steps = 3});
  Receive(1);
  EXPECT_EQ(Act(), 1u);
  Receive(2);
  EXPECT_EQ(Act(), 1u);
  EXPECT_EQ(Act(), 1u);
  EXPECT_EQ(Act(), 2u);
}

TEST_F(LocalActionSourceTest, ActsWithWeightsThatAreAsOldAsTheDelay) {
  Start({.delay_updates = 2});
  std::vector<uint64_t> acted_with;
  for (const uint64_t update : {1, 2, 3, 4, 5, 9}) {
    Receive(update);
    acted_with.push_back(Act());
  }
  // The first ones until others are two updates old. When 9 is the newest, 5 is the newest that is old enough.
  EXPECT_EQ(acted_with, (std::vector<uint64_t>{1, 1, 1, 2, 3, 5}));
}

TEST_F(LocalActionSourceTest, AWaitForWeightsEndsWhenTheActorIsToStop) {
  Start({});
  stop_ = true;
  EXPECT_TRUE(absl::IsDeadlineExceeded(source_->WaitFor(V(1), std::chrono::steady_clock::now())));
  at::Tensor actions = at::zeros({1, 1}), log_probs, state;
  EXPECT_TRUE(
      absl::IsCancelled(source_->Act(at::zeros({1, 1}), ActMode::kExplore, state, actions, log_probs).status()));
}

TEST_F(LocalActionSourceTest, AWaitForWeightsThatWillNotComeEndsWithTheReason) {
  ParameterSubscriber stranger(server_->address(), MakePeer("another", "actor 0"));
  LocalActionSource source(std::make_unique<WeightPolicy>(), &stranger, RandomStream(1), {}, &metrics_,
                           [] { return false; });
  EXPECT_TRUE(absl::IsFailedPrecondition(source.WaitFor(V(1), ActionSource::Deadline::max())));
}

}  // namespace
}  // namespace headrace
