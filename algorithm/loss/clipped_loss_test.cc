#include "algorithm/loss/clipped_loss.h"

#include <cmath>
#include <optional>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/max.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(ClippedPolicyLossTest, NothingIsGainedBeyondTheClipAndAllIsLost) {
  // Ratios 2 and 1/2, each with an advantage of 1 and of -1.
  const at::Tensor log_prob = at::tensor({std::log(2.0f), std::log(2.0f), std::log(0.5f), std::log(0.5f)});
  const ClippedPolicyLoss loss =
      MakeClippedPolicyLoss(log_prob, log_prob * 0, at::tensor({1.0f, -1.0f, 1.0f, -1.0f}), 0.2);
  // max(-2, -1.2) + max(2, 1.2) + max(-0.5, -0.8) + max(0.5, 0.8)
  EXPECT_NEAR(loss.loss.item<double>(), (-1.2 + 2 - 0.5 + 0.8) / 4, 1e-6);
  EXPECT_TRUE(at::allclose(loss.log_prob_gradient, at::tensor({0.0f, 2.0f, -0.5f, 0.0f}) / 4));
  EXPECT_EQ(loss.clipped.item<double>(), 1);
  // r - 1 - log r
  EXPECT_NEAR(loss.divergence.item<double>(), (1 - std::log(2.0) - 0.5 + std::log(2.0)) / 2, 1e-6);
}

TEST(ClippedPolicyLossTest, DerivativesEqualAutograd) {
  const at::Tensor old_log_prob = at::randn({200}), advantage = at::randn({200});
  at::Tensor log_prob = old_log_prob + at::randn({200}) * 0.3;
  log_prob[0].copy_(old_log_prob[0]);
  const ClippedPolicyLoss loss = MakeClippedPolicyLoss(log_prob, old_log_prob, advantage, 0.2);
  log_prob.requires_grad_();
  const at::Tensor ratio = (log_prob - old_log_prob).exp();
  const at::Tensor expected = at::max(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2)).mean();
  expected.backward();
  EXPECT_TRUE(at::allclose(loss.loss, expected, 1e-6, 1e-7));
  EXPECT_TRUE(at::allclose(loss.log_prob_gradient, log_prob.grad(), 1e-6, 1e-9));
  const double clipped = loss.clipped.item<double>();
  EXPECT_GT(clipped, 0.2);
  EXPECT_LT(clipped, 0.8);
}

TEST(ValueLossTest, AValueThatMovedTooFarTowardsItsTargetStays) {
  // All were 0 and are held to +- 0.2. The target is ahead, behind, ahead within the clip, and between clip and value.
  const at::Tensor value = at::tensor({0.5f, 0.5f, 0.1f, 0.5f}), target = at::tensor({2.0f, -1.0f, 2.0f, 0.4f});
  const ValueLoss loss = MakeValueLoss(value, value * 0, target, 0.2);
  // max(1.5^2, 1.8^2) + max(1.5^2, 1.2^2) + 1.9^2 + max(0.1^2, 0.2^2)
  EXPECT_NEAR(loss.loss.item<double>(), (3.24 + 2.25 + 3.61 + 0.04) / 4, 1e-6);
  EXPECT_TRUE(at::allclose(loss.value_gradient, at::tensor({0.0f, 1.5f, -1.9f, 0.0f}) / 2, 1e-6, 1e-7));
}

TEST(ValueLossTest, DerivativesEqualAutograd) {
  for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(0.2)}) {
    const at::Tensor old_value = at::randn({200}), target = at::randn({200});
    at::Tensor value = old_value + at::randn({200}) * 0.3;
    const ValueLoss loss = MakeValueLoss(value, old_value, target, clip);
    value.requires_grad_();
    at::Tensor error = (value - target).square();
    if (clip) error = at::max(error, (old_value + (value - old_value).clamp(-*clip, *clip) - target).square());
    error.mean().backward();
    EXPECT_TRUE(at::allclose(loss.loss, error.mean(), 1e-6, 1e-7));
    EXPECT_TRUE(at::allclose(loss.value_gradient, value.grad(), 1e-5, 1e-7));
    EXPECT_EQ(loss.value_gradient.eq(0).any().item<bool>(), clip.has_value());
  }
}

}  // namespace
}  // namespace headrace
