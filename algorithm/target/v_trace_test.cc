#include "algorithm/target/v_trace.h"

#include <cmath>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/ones_like.h"
#include "ATen/ops/rand.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

at::Tensor Row(const std::vector<float>& values) { return at::tensor(values).unsqueeze(0); }

void ExpectRow(const at::Tensor& actual, const std::vector<float>& expected) {
  EXPECT_TRUE(at::allclose(actual, Row(expected), 1e-5, 1e-5)) << actual << " is not " << Row(expected);
}

// Three steps and the observation after them; discount 0.9, ratios 2, 1/2 and 1.
VTraceInput ThreeSteps() {
  return {.reward = Row({1, 2, 3, 0}),
          .discount = Row({0.9f, 0.9f, 0.9f, 0.9f}),
          .is_step = Row({1, 1, 1, 0}),
          .value = Row({0.5f, 1, 2, 4}),
          .log_rho = Row({std::log(2.0f), std::log(0.5f), 0, 0})};
}

TEST(VTraceTest, IsTheRecursionOfThePaper) {
  const VTraceTarget target = MakeVTrace(ThreeSteps(), {});
  // delta = min(1, rho) (r + 0.9 V' - V): 1 (1 + 0.9 - 0.5) = 1.4, 0.5 (2 + 1.8 - 1) = 1.4, 3 + 3.6 - 2 = 4.6.
  // v - V, from the end: 4.6; 1.4 + 0.9 0.5 4.6 = 3.47; 1.4 + 0.9 3.47 = 4.523.
  ExpectRow(target.value, {5.023f, 4.47f, 6.6f, 4});
  // min(1, rho) (r + 0.9 v' - V): 1 + 0.9 4.47 - 0.5; 0.5 (2 + 0.9 6.6 - 1); 3 + 3.6 - 2.
  ExpectRow(target.advantage, {4.523f, 3.47f, 4.6f, 0});
}

TEST(VTraceTest, RatiosAreCutOffSeparately) {
  // rho up to 2 in delta: 2.8, 1.4, 4.6; c up to 1: 3.47, then 2.8 + 0.9 3.47 = 5.923.
  EXPECT_NEAR(MakeVTrace(ThreeSteps(), {.rho_bar = 3}).value[0][0].item<double>(), 6.423, 1e-5);
  // c up to 2: 1.4 + 0.9 2 3.47 = 7.646.
  EXPECT_NEAR(MakeVTrace(ThreeSteps(), {.c_bar = 3}).value[0][0].item<double>(), 8.146, 1e-5);
  // The policy's up to 2: twice 4.523.
  EXPECT_NEAR(MakeVTrace(ThreeSteps(), {.policy_rho_bar = 3}).advantage[0][0].item<double>(), 9.046, 1e-5);
}

TEST(VTraceTest, LambdaShortensTheTraceAndWhatTheAdvantageLooksAheadTo) {
  // v - V with lambda 0.5: 4.6; 1.4 + 0.9 0.5 0.5 4.6 = 2.435; 1.4 + 0.9 0.5 2.435 = 2.49575.
  const VTraceTarget target = MakeVTrace(ThreeSteps(), {.lambda = 0.5});
  ExpectRow(target.value, {2.99575f, 3.435f, 6.6f, 4});
  // V' + 0.5 (v' - V'): 1 + 0.9 (1 + 1.2175) - 0.5; 0.5 (2 + 0.9 (2 + 2.3) - 1); 4.6.
  ExpectRow(target.advantage, {2.49575f, 2.435f, 4.6f, 0});
}

TEST(VTraceTest, ATimeLimitBootstrapsFromTheFinalObservationAndEndsTheTrace) {
  VTraceInput input = ThreeSteps();
  input.is_step = Row({1, 0, 1, 0});  // row 1 is an episode's final observation
  const VTraceTarget target = MakeVTrace(input, {});
  ExpectRow(target.value, {2.9f - 1, 1, 6.6f, 4});  // 1 + 0.9 V_1, and nothing of what comes after
  ExpectRow(target.advantage, {1.4f, 0, 4.6f, 0});
}

TEST(VTraceTest, NothingFollowsATerminalState) {
  VTraceInput input = ThreeSteps();
  input.is_step = Row({1, 0, 1, 0});
  input.discount = Row({0, 0.9f, 0.9f, 0.9f});
  const VTraceTarget target = MakeVTrace(input, {});
  ExpectRow(target.value, {1, 1, 6.6f, 4});
  ExpectRow(target.advantage, {0.5f, 0, 4.6f, 0});
}

TEST(VTraceTest, OnPolicyItIsTheNStepReturn) {
  VTraceInput input = ThreeSteps();
  input.log_rho = at::zeros_like(input.log_rho);
  // 1 + 0.9 2 + 0.81 3 + 0.729 4, and so on.
  ExpectRow(MakeVTrace(input, {}).value, {8.146f, 7.94f, 6.6f, 4});
}

TEST(VTraceTest, OnPolicyItIsTheGeneralizedAdvantage) {
  at::Tensor is_step = at::rand({7, 30}).gt(0.1).to(at::kFloat);
  is_step.select(1, 29).zero_();
  const VTraceInput input = {.reward = at::randn({7, 30}),
                             .discount = at::rand({7, 30}).gt(0.1).to(at::kFloat) * 0.97,
                             .is_step = is_step,
                             .value = at::randn({7, 30}),
                             .log_rho = at::zeros({7, 30})};
  const VTraceTarget v_trace = MakeVTrace(input, {.lambda = 0.9});
  const VTraceTarget generalized = MakeGeneralizedAdvantage(input, 0.9);
  EXPECT_TRUE(at::allclose(v_trace.value, generalized.value, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(v_trace.advantage, generalized.advantage, 1e-4, 1e-5));
}

TEST(VTraceTest, WhatIsNoStepHasNoPartInIt) {
  const VTraceInput input = ThreeSteps();
  VTraceInput other = input;
  other.log_rho = Row({std::log(2.0f), std::log(0.5f), 0, 300});  // exp of it is no float
  other.reward = Row({1, 2, 3, 7});
  const VTraceTarget a = MakeVTrace(input, {}), b = MakeVTrace(other, {});
  EXPECT_TRUE(a.value.equal(b.value));
  EXPECT_TRUE(a.advantage.equal(b.advantage));
}

}  // namespace
}  // namespace headrace
