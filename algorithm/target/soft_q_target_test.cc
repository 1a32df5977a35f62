#include "algorithm/target/soft_q_target.h"

#include "ATen/ops/allclose.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

class SoftQTargetTest : public testing::Test {
 protected:
  at::Tensor reward_ = at::tensor({1.0f, 2.0f, 3.0f});
  at::Tensor next_q_ = at::tensor({5.0f, 1.0f, 7.0f, 4.0f, 2.0f, 8.0f}).view({2, 3});
  at::Tensor alpha_ = at::tensor(0.5f);
  at::Tensor next_log_prob_ = at::tensor({2.0f, -2.0f, 0.0f});
};

TEST_F(SoftQTargetTest, AddsTheDiscountedSoftValueOfTheSmallerCritic) {
  const at::Tensor y = SoftQTarget(reward_, at::tensor({0.9f, 0.9f, 0.9f}), next_q_, alpha_, next_log_prob_);
  // 1 + 0.9 (4 - 0.5 * 2), 2 + 0.9 (1 + 0.5 * 2), 3 + 0.9 (7 - 0)
  EXPECT_TRUE(at::allclose(y, at::tensor({3.7f, 3.8f, 9.3f})));
}

TEST_F(SoftQTargetTest, TerminationLeavesTheRewardAlone) {
  const at::Tensor y = SoftQTarget(reward_, at::tensor({0.0f, 0.9f, 0.0f}), next_q_, alpha_, next_log_prob_);
  EXPECT_TRUE(at::allclose(y, at::tensor({1.0f, 3.8f, 3.0f})));
}

TEST_F(SoftQTargetTest, LeavesItsArgumentsAsTheyAre) {
  const at::Tensor discount = at::tensor({0.9f, 0.0f, 0.9f});
  SoftQTarget(reward_, discount, next_q_, alpha_, next_log_prob_);
  EXPECT_TRUE(at::allclose(reward_, at::tensor({1.0f, 2.0f, 3.0f})));
  EXPECT_EQ(next_q_[0][0].item<float>(), 5);
  EXPECT_EQ(discount[1].item<float>(), 0);
}

}  // namespace
}  // namespace headrace
