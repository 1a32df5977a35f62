#include "algorithm/dqn.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/transition_experience.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "tests/golden/golden.h"

namespace headrace {
namespace {

constexpr int64_t kBatch = 6, kObservation = 3, kActions = 4;

std::unique_ptr<Dqn> MakeSmallDqn(const v1::DqnOptions& options) {
  QNetworkSpec spec = {.observation = {kObservation}, .actions = kActions};
  spec.network.set_activation(v1::RELU);
  for (int i = 0; i < 2; ++i) spec.network.add_hidden(8);
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  return std::make_unique<Dqn>(
      options, *QModel::Create(spec, {.interval = options.target_update_interval(), .tau = options.tau()}, {}, at::kCPU,
                               random));
}

Batch RandomBatch() {
  return {{at::randn({kBatch, 2, kObservation}), at::randint(kActions, {kBatch, 1}, at::kInt), at::randn({kBatch, 1}),
           at::zeros({kBatch, 1}, at::kByte), at::zeros({kBatch, 1}, at::kLong)}};
}

std::map<std::string, at::Tensor> Copy(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> copies;
  for (const NamedTensor& named : tensors) copies[named.name] = named.tensor.clone();
  return copies;
}

// Those of tests/golden/dqn.py.
struct Variant {
  std::string name;
  uint32_t n_step;
  bool double_q;
  v1::ErrorLoss loss;
  double tau;
  bool prioritized;
};

class DqnGoldenTest : public testing::TestWithParam<Variant> {};

TEST_P(DqnGoldenTest, ReproducesTheNumbersOfASecondImplementation) {
  const Variant& variant = GetParam();
  v1::DqnOptions options;
  options.set_n_step(variant.n_step);
  options.set_double_q(variant.double_q);
  options.set_loss(variant.loss);
  options.set_tau(variant.tau);
  options.mutable_prioritized_replay()->set_enabled(true);  // to see the errors
  options.set_discount(0.9);
  options.set_target_update_interval(2);
  options.mutable_optimizer()->set_learning_rate(1e-2);
  const std::unique_ptr<Dqn> dqn = MakeSmallDqn(options);
  std::map<std::string, at::Tensor> golden = ReadGolden("tests/golden/dqn.textproto");
  for (const NamedTensor& named : dqn->StateTensors()) {
    const std::string name = named.name.starts_with("target_") ? named.name.substr(7) : named.name;
    if (name.starts_with("network/")) at::Tensor(named.tensor).copy_(golden.at(variant.name + "/initial/" + name));
  }
  LocalOptimizer optimizer(dqn->ParameterGroups());
  for (int i = 0; i < 5; ++i) {
    const std::string update = variant.name + "/update" + std::to_string(i) + "/";
    const auto column = [&](const char* name, at::ScalarType type) {
      return golden.at(update + name).to(type).contiguous();
    };
    Batch batch = {{column("observation", at::kFloat), column("action", at::kInt).unsqueeze(1),
                    column("reward", at::kFloat), column("terminated", at::kByte), at::zeros({kBatch, 1}, at::kLong)}};
    if (variant.n_step > 1) batch.rows = column("rows", at::kInt);
    if (variant.prioritized) batch.weights = column("weights", at::kFloat);
    dqn->Update(batch, optimizer);
    dqn->AfterUpdate(0);
    const at::Tensor q = column("q", at::kFloat), y = column("target", at::kFloat);
    EXPECT_TRUE(at::allclose(dqn->Priorities(), (q - y).abs() + 1e-6, 1e-4, 1e-5)) << dqn->Priorities() << q - y;
    EXPECT_NEAR(dqn->Metrics()[0].item<double>(), golden.at(update + "loss").item<double>(), 1e-4);
  }
  // An update moves a parameter by about 1e-2; single precision resolves 1e-7.
  for (const NamedTensor& named : dqn->StateTensors()) {
    if (named.name == "updates" || named.name == "epsilon") continue;
    const at::Tensor expected = golden.at(variant.name + "/final/" + named.name).to(at::kFloat);
    EXPECT_TRUE(at::allclose(named.tensor, expected, 1e-5, 1e-5)) << named.name << named.tensor << expected;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, DqnGoldenTest,
                         testing::Values(Variant{"one_step", 1, false, v1::SQUARED, 1, false},
                                         Variant{"double", 1, true, v1::HUBER, 1, false},
                                         Variant{"n_step", 3, true, v1::HUBER, 0.25, true}),
                         [](const testing::TestParamInfo<Variant>& info) { return info.param.name; });

TEST(DqnTest, RewardsAreClippedBeforeTheyAreSummedUp) {
  v1::DqnOptions options;
  options.set_reward_clip(1);
  options.set_discount(0.5);
  options.mutable_prioritized_replay()->set_enabled(true);
  const std::unique_ptr<Dqn> dqn = MakeSmallDqn(options);
  // Every item ends with its second step, and the values begin near 0.
  Batch batch = RandomBatch();
  batch.slices[TransitionSlice::kObservation].zero_();
  batch.slices[TransitionSlice::kReward] = at::tensor({10.0f, -10.0f}).expand({kBatch, 2});
  batch.slices[TransitionSlice::kTerminated] = at::tensor({0, 1}, at::kByte).expand({kBatch, 2});
  batch.slices[TransitionSlice::kAction].zero_();
  batch.rows = at::full({kBatch}, 3, at::kInt);
  LocalOptimizer optimizer(dqn->ParameterGroups());
  dqn->Update(batch, optimizer);
  const float q = dqn->Metrics()[1].item<float>();  // of the one observation and action there is
  // 1 - 1 / 2
  EXPECT_NEAR(dqn->Priorities()[0].item<float>(), std::abs(q - 0.5f), 1e-5);
}

TEST(DqnTest, WeightsOfZeroKeepTheNetwork) {
  const std::unique_ptr<Dqn> dqn = MakeSmallDqn({});
  EXPECT_FALSE(dqn->Priorities().defined());
  LocalOptimizer optimizer(dqn->ParameterGroups());
  const std::map<std::string, at::Tensor> before = Copy(dqn->PolicyTensors());
  Batch batch = RandomBatch();
  batch.weights = at::zeros({kBatch});
  dqn->Update(batch, optimizer);
  EXPECT_TRUE(at::equal(Copy(dqn->PolicyTensors()).at("network/head/weight"), before.at("network/head/weight")));
}

}  // namespace
}  // namespace headrace
