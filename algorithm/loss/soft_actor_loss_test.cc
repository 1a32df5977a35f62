#include "algorithm/loss/soft_actor_loss.h"

#include "ATen/ops/allclose.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(MinimumSoftActorLossTest, WeighsEntropyAgainstTheSmallerCritic) {
  const at::Tensor q = at::tensor({5.0f, 1.0f, 4.0f, 2.0f}).view({2, 2});
  const SoftActorLoss loss = MinimumSoftActorLoss(at::tensor(0.5f), at::tensor({2.0f, -6.0f}), q);
  // ((0.5 * 2 - 4) + (0.5 * -6 - 1)) / 2
  EXPECT_NEAR(loss.loss.item<float>(), -3.5, 1e-6);
}

TEST(MinimumSoftActorLossTest, GradientsEqualAutograd) {
  at::Tensor q = at::randn({2, 5}), log_prob = at::randn({5});
  const at::Tensor alpha = at::tensor(0.3f);
  const SoftActorLoss loss = MinimumSoftActorLoss(alpha, log_prob, q);
  q.requires_grad_();
  log_prob.requires_grad_();
  log_prob.mul(alpha).sub(q.amin(0)).mean().backward();
  EXPECT_TRUE(at::allclose(loss.q_gradient, q.grad(), 1e-5, 1e-7));
  EXPECT_TRUE(at::allclose(loss.log_prob_gradient, log_prob.grad(), 1e-5, 1e-7));
}

TEST(MinimumSoftActorLossTest, CriticsThatAgreeShareTheGradient) {
  const at::Tensor q = at::tensor({1.0f, 3.0f, 1.0f, 2.0f}).view({2, 2});
  const SoftActorLoss loss = MinimumSoftActorLoss(at::tensor(0.5f), at::tensor({0.0f, 0.0f}), q);
  EXPECT_TRUE(at::allclose(loss.q_gradient, at::tensor({-0.25f, 0.0f, -0.25f, -0.5f}).view({2, 2})));
}

}  // namespace
}  // namespace headrace
