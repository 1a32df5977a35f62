#include "algorithm/q_learning.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "tests/golden/golden.h"

namespace headrace {
namespace {

constexpr int64_t kLanes = 3, kRows = 6, kObservation = 3, kActions = 4;

std::unique_ptr<QLearning> MakeSmall(const v1::QLearningOptions& options) {
  QNetworkSpec spec = {.observation = {kObservation}, .actions = kActions};
  spec.network.set_activation(v1::RELU);
  for (int i = 0; i < 2; ++i) spec.network.add_hidden(8);
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  return std::make_unique<QLearning>(
      options, *QModel::Create(spec, {.interval = options.target_update_interval()}, {}, at::kCPU, random));
}

Batch RandomUnrolls() {
  return {{at::randn({kLanes, kRows, kObservation}), at::randint(kActions, {kLanes, kRows}, at::kInt),
           at::randn({kLanes, kRows}), at::zeros({kLanes, kRows}, at::kByte), at::zeros({kLanes, kRows}, at::kByte),
           at::zeros({kLanes, kRows}), at::zeros({kLanes, kRows}, at::kLong)}};
}

std::map<std::string, at::Tensor> Copy(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> copies;
  for (const NamedTensor& named : tensors) copies[named.name] = named.tensor.clone();
  return copies;
}

struct Method {
  std::string name;  // in tests/golden/q_learning.py
  v1::QLearningMethod method;
};

class QLearningGoldenTest : public testing::TestWithParam<Method> {};

TEST_P(QLearningGoldenTest, ReproducesTheNumbersOfASecondImplementation) {
  v1::QLearningOptions options;
  options.set_method(GetParam().method);
  options.set_discount(0.9);
  options.set_target_update_interval(2);
  options.mutable_optimizer()->set_kind(v1::RMSPROP);
  options.mutable_optimizer()->set_learning_rate(1e-3);
  options.mutable_optimizer()->set_epsilon(0.01);
  const std::unique_ptr<QLearning> algorithm = MakeSmall(options);
  const std::string& method = GetParam().name;
  std::map<std::string, at::Tensor> golden = ReadGolden("tests/golden/q_learning.textproto");
  for (const NamedTensor& named : algorithm->StateTensors()) {
    const std::string name = named.name.starts_with("target_") ? named.name.substr(7) : named.name;
    if (name.starts_with("network/")) at::Tensor(named.tensor).copy_(golden.at(method + "/initial/" + name));
  }
  LocalOptimizer optimizer(algorithm->ParameterGroups());
  for (int i = 0; i < 5; ++i) {
    const std::string update = method + "/update" + std::to_string(i) + "/";
    const auto column = [&](const char* name, at::ScalarType type) {
      return golden.at(update + name).to(type).contiguous();
    };
    algorithm->Update({{column("observation", at::kFloat), column("action", at::kInt), column("reward", at::kFloat),
                        column("terminated", at::kByte), column("observation_only", at::kByte),
                        at::zeros({kLanes, kRows}), at::zeros({kLanes, kRows}, at::kLong)}},
                      optimizer);
    algorithm->AfterUpdate(0);
    EXPECT_NEAR(algorithm->Metrics()[0].item<double>(), golden.at(update + "loss").item<double>(), 1e-5);
  }
  // An update moves a parameter by about 1e-3; single precision resolves 1e-7.
  for (const NamedTensor& named : algorithm->StateTensors()) {
    if (named.name == "updates" || named.name == "epsilon") continue;
    const at::Tensor expected = golden.at(method + "/final/" + named.name).to(at::kFloat);
    EXPECT_TRUE(at::allclose(named.tensor, expected, 1e-5, 1e-6)) << named.name << named.tensor << expected;
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, QLearningGoldenTest,
                         testing::Values(Method{"n_step_q", v1::N_STEP_Q}, Method{"one_step_q", v1::ONE_STEP_Q},
                                         Method{"one_step_sarsa", v1::ONE_STEP_SARSA}),
                         [](const testing::TestParamInfo<Method>& info) { return info.param.name; });

TEST(QLearningTest, RowsThatAreNoStepsTeachNothing) {
  const std::unique_ptr<QLearning> algorithm = MakeSmall({});
  LocalOptimizer optimizer(algorithm->ParameterGroups());
  const std::map<std::string, at::Tensor> before = Copy(algorithm->PolicyTensors());
  Batch batch = RandomUnrolls();
  batch.slices[UnrollSlice::kObservationOnly] = at::ones({kLanes, kRows}, at::kByte);
  algorithm->Update(batch, optimizer);
  EXPECT_TRUE(at::equal(Copy(algorithm->PolicyTensors()).at("network/head/bias"), before.at("network/head/bias")));
}

}  // namespace
}  // namespace headrace
