#include "algorithm/loss/temporal_difference_loss.h"

#include "ATen/ops/allclose.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(SquaredTemporalDifferenceLossTest, SumsOverCriticsAndAveragesOverTheBatch) {
  const at::Tensor q = at::tensor({1.0f, 2.0f, 3.0f, 6.0f}).view({2, 2}), y = at::tensor({1.0f, 4.0f});
  // (0 + 4) / 2 / 2 + (4 + 4) / 2 / 2
  EXPECT_NEAR(SquaredTemporalDifferenceLoss(q, y).loss.item<float>(), 3, 1e-6);
}

TEST(SquaredTemporalDifferenceLossTest, GradientEqualsAutograd) {
  at::Tensor q = at::randn({2, 5});
  const at::Tensor y = at::randn({5});
  const TemporalDifferenceLoss loss = SquaredTemporalDifferenceLoss(q, y);
  q.requires_grad_();
  q.sub(y).square().mean(1).sum().mul(0.5).backward();
  EXPECT_TRUE(at::allclose(loss.q_gradient, q.grad(), 1e-5, 1e-7));
}

TEST(SquaredTemporalDifferenceLossTest, WeighsTheItemsOfTheBatch) {
  const at::Tensor q = at::tensor({1.0f, 2.0f, 3.0f, 6.0f}).view({2, 2}), y = at::tensor({1.0f, 4.0f});
  const TemporalDifferenceLoss loss = SquaredTemporalDifferenceLoss(q, y, at::tensor({1.0f, 0.25f}));
  // (0 + 4 / 4) / 2 / 2 + (4 + 4 / 4) / 2 / 2
  EXPECT_NEAR(loss.loss.item<float>(), 1.5, 1e-6);
  // Weight times error over the batch of 2.
  EXPECT_TRUE(at::allclose(loss.q_gradient, at::tensor({0.0f, -0.25f, 1.0f, 0.25f}).view({2, 2})));
  EXPECT_TRUE(at::allclose(loss.error, at::tensor({0.0f, -2.0f, 2.0f, 2.0f}).view({2, 2})));
}

}  // namespace
}  // namespace headrace
