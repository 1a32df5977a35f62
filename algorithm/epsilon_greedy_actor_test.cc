#include "algorithm/epsilon_greedy_actor.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/ops/equal.h"
#include "ATen/ops/randn.h"
#include "common/random.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr int64_t kObservation = 4, kActions = 5, kLanes = 10000;

class EpsilonGreedyActorTest : public testing::Test {
 protected:
  EpsilonGreedyActorTest() {
    spec_.network.add_hidden(8);
    exploration_.add_end(0.1);
    policy_ = *EpsilonGreedyActor::Create(spec_, exploration_, /*log_probs=*/true);
    RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
    network_ = *QNetwork::Create(spec_, at::kCPU);
    network_->Initialize(random);
    std::map<std::string, at::Tensor> tensors;
    for (const NamedTensor& named : policy_->Tensors()) tensors[named.name] = named.tensor;
    for (const NamedTensor& named : network_->parameters().Named("network")) tensors.at(named.name).copy_(named.tensor);
    epsilon_ = tensors.at("epsilon");
  }

  at::Tensor Act(ActMode mode) {
    RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
    at::Tensor actions;
    policy_->Act(observations_, mode, random, state_, actions, log_probs_);
    return actions;
  }
  at::Tensor Best() const { return network_->Forward(observations_).argmax(1).to(at::kInt); }

  // Of the actions' counts against all being as likely; 18.5 is 0.999 of four degrees of freedom.
  static double ChiSquare(const at::Tensor& actions) {
    const at::Tensor counts = actions.to(at::kLong).bincount({}, kActions).to(at::kDouble);
    const double expected = static_cast<double>(actions.numel()) / kActions;
    return counts.sub(expected).square().div(expected).sum().item<double>();
  }

  QNetworkSpec spec_ = {.observation = {kObservation}, .actions = kActions};
  v1::EpsilonGreedyOptions exploration_;
  std::unique_ptr<Policy> policy_;
  std::unique_ptr<QNetwork> network_;
  at::Tensor epsilon_;
  at::Tensor state_;  // there is none
  at::Tensor log_probs_;
  const at::Tensor observations_ = at::randn({kLanes, kObservation});
};

TEST_F(EpsilonGreedyActorTest, IsGreedyWithAnEpsilonOfZero) {
  epsilon_.fill_(0);
  EXPECT_TRUE(at::equal(Act(ActMode::kExplore), Best()));
  EXPECT_EQ(log_probs_.abs().max().item<float>(), 0);
}

TEST_F(EpsilonGreedyActorTest, IsUniformWithAnEpsilonOfOne) {
  ASSERT_GT(ChiSquare(Best()), 100) << "otherwise a greedy policy could not be told from a uniform one";
  epsilon_.fill_(1);
  EXPECT_LT(ChiSquare(Act(ActMode::kExplore)), 18.5);
  EXPECT_NEAR(log_probs_.max().item<double>(), -std::log(kActions), 1e-6);
  EXPECT_NEAR(log_probs_.min().item<double>(), -std::log(kActions), 1e-6);
}

TEST_F(EpsilonGreedyActorTest, ExploresAsOftenAsEpsilonSays) {
  epsilon_.fill_(0.5);
  const at::Tensor actions = Act(ActMode::kExplore);
  // Of the random actions one in five is the best all the same. Four deviations of a share of 0.6 are 0.02.
  const at::Tensor is_best = actions.eq(Best());
  EXPECT_NEAR(is_best.to(at::kDouble).mean().item<double>(), 0.6, 0.02);
  EXPECT_LT(ChiSquare(actions.masked_select(is_best.logical_not())), 1000);
  const at::Tensor probabilities = log_probs_.exp();
  EXPECT_NEAR(probabilities.masked_select(is_best).min().item<double>(), 0.6, 1e-6);
  EXPECT_NEAR(probabilities.masked_select(is_best.logical_not()).max().item<double>(), 0.1, 1e-6);
}

TEST_F(EpsilonGreedyActorTest, EvaluationIsGreedyAndWarmUpRandomWhateverEpsilonIs) {
  epsilon_.fill_(1);
  EXPECT_TRUE(at::equal(Act(ActMode::kGreedy), Best()));
  epsilon_.fill_(0);
  EXPECT_LT(ChiSquare(Act(ActMode::kRandom)), 18.5);
}

TEST_F(EpsilonGreedyActorTest, EveryEnvironmentKeepsTheEpsilonThatItDrew) {
  exploration_.add_end(0.5);
  policy_ = *EpsilonGreedyActor::Create(spec_, exploration_, /*log_probs=*/true);
  for (const NamedTensor& named : policy_->Tensors()) {
    if (named.name != "epsilon") continue;
    at::Tensor(named.tensor)[0].fill_(0);
    at::Tensor(named.tensor)[1].fill_(1);
  }
  Act(ActMode::kExplore);
  const at::Tensor uniform = log_probs_.lt(-1).clone();  // the others act with probability 1
  EXPECT_NEAR(uniform.to(at::kDouble).mean().item<double>(), 0.5, 0.02);
  at::Tensor actions;
  RandomStream later(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  for (int i = 0; i < 7; ++i) later.Bits64();
  policy_->Act(observations_, ActMode::kExplore, later, state_, actions, log_probs_);
  EXPECT_TRUE(at::equal(log_probs_.lt(-1), uniform));
}

}  // namespace
}  // namespace headrace
