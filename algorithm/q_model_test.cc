#include "algorithm/q_model.h"

#include <map>
#include <memory>
#include <string>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr char kNetwork[] = "network/head/weight", kTarget[] = "target_network/head/weight";

// Epsilon falls from 1 to 0.1 and 0.5, over half of the run.
std::unique_ptr<QModel> MakeSmallModel(const QModel::Following& following) {
  QNetworkSpec spec = {.observation = {3}, .actions = 4};
  spec.network.add_hidden(8);
  v1::EpsilonGreedyOptions exploration;
  exploration.set_share(0.5);
  exploration.add_end(0.1);
  exploration.add_end(0.5);
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  return *QModel::Create(spec, following, exploration, at::kCPU, random);
}

std::map<std::string, at::Tensor> Copy(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> copies;
  for (const NamedTensor& named : tensors) copies[named.name] = named.tensor.clone();
  return copies;
}

TEST(QModelTest, TheNetworksBeginAlike) {
  const std::map<std::string, at::Tensor> state = Copy(MakeSmallModel({})->StateTensors());
  EXPECT_GT(state.at(kNetwork).abs().sum().item<float>(), 0);
  EXPECT_TRUE(at::equal(state.at(kTarget), state.at(kNetwork)));
}

TEST(QModelTest, TheTargetNetworkFollowsAtItsIntervalAlone) {
  for (const double tau : {1.0, 0.25}) {
    const std::unique_ptr<QModel> model = MakeSmallModel({.interval = 3, .tau = tau});
    at::Tensor before = Copy(model->StateTensors()).at(kTarget);
    for (int update = 1; update <= 6; ++update) {
      model->network().parameters().flat().add_(1);
      model->AfterUpdate(0);
      const std::map<std::string, at::Tensor> state = Copy(model->StateTensors());
      const at::Tensor expected = update % 3 == 0 ? before * (1 - tau) + state.at(kNetwork) * tau : before;
      EXPECT_TRUE(at::allclose(state.at(kTarget), expected)) << "update " << update;
      before = state.at(kTarget);
    }
  }
}

TEST(QModelTest, ActorsAreGivenTheEpsilonsOfTheRunsProgress) {
  const std::unique_ptr<QModel> model = MakeSmallModel({});
  const auto epsilons = [&] { return Copy(model->PolicyTensors()).at("epsilon"); };
  EXPECT_TRUE(at::equal(epsilons(), at::tensor({1.0f, 1.0f})));
  model->AfterUpdate(0.25);  // half of the way
  EXPECT_TRUE(at::allclose(epsilons(), at::tensor({0.55f, 0.75f})));
  EXPECT_FLOAT_EQ(model->Metrics(at::full({}, 2.0f), at::full({}, 3.0f))[2].item<float>(), 0.65f);
  model->AfterUpdate(1);
  EXPECT_TRUE(at::allclose(epsilons(), at::tensor({0.1f, 0.5f})));
}

TEST(QModelTest, ActorsAreNotGivenTheTargetNetwork) {
  const std::map<std::string, at::Tensor> policy = Copy(MakeSmallModel({})->PolicyTensors());
  EXPECT_TRUE(policy.contains(kNetwork));
  EXPECT_FALSE(policy.contains(kTarget));
}

// Errors of 0.5 and 3: half the square of the first, and of the second its size less a half.
TEST(ErrorLossesTest, AreHalvesOfSquaresUpToOne) {
  const at::Tensor q = at::tensor({1.5f, -3.0f}), y = at::tensor({1.0f, 0.0f});
  EXPECT_TRUE(at::allclose(ErrorLosses(v1::SQUARED, q, y), at::tensor({0.125f, 4.5f})));
  EXPECT_TRUE(at::allclose(ErrorLosses(v1::HUBER, q, y), at::tensor({0.125f, 2.5f})));
}

}  // namespace
}  // namespace headrace
