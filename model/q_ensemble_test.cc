#include "model/q_ensemble.h"

#include "ATen/ops/allclose.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/randn.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "model/initialization.h"

namespace headrace {
namespace {

class QEnsembleTest : public testing::Test {
 protected:
  QEnsembleTest() {
    RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
    InitializeFanInUniform(q_.parameters(), random);
  }

  QEnsemble q_{{.observation = 3, .action = 2, .hidden = {8, 8}, .members = 2}, at::kCPU};
  at::Tensor s_ = at::randn({5, 3});
  at::Tensor a_ = at::randn({5, 2});
};

TEST_F(QEnsembleTest, MembersAreIndependentNetworks) {
  const at::Tensor values = q_.Evaluate(s_, a_).clone();
  ASSERT_EQ(values.sizes(), at::IntArrayRef({2, 5}));
  EXPECT_TRUE(at::allclose(values, EvaluateMlp(q_.parameters(), at::cat({s_, a_}, 1)).squeeze(2), 1e-5, 1e-6));
  for (LinearParameters& layer : q_.parameters().layers) layer.weight[1].zero_();
  EXPECT_TRUE(at::equal(q_.Evaluate(s_, a_)[0], values[0]));
  EXPECT_FALSE(at::equal(q_.Evaluate(s_, a_)[1], values[1]));
}

TEST_F(QEnsembleTest, EvaluatesTheParametersOfATargetNetwork) {
  MlpParameters target = MlpParameters::Zeros(q_.parameters().spec, at::kCPU);
  target.flat.copy_(q_.parameters().flat.mul(0.5));
  const at::Tensor expected = EvaluateMlp(target, at::cat({s_, a_}, 1)).squeeze(2);
  EXPECT_TRUE(at::allclose(q_.Evaluate(target, s_, a_), expected, 1e-5, 1e-6));
}

TEST_F(QEnsembleTest, ActionGradientEqualsAutogradAndLeavesTheParametersAlone) {
  const at::Tensor q_gradient = at::randn({2, 5});
  const at::Tensor parameters = q_.parameters().flat.clone();
  q_.Evaluate(s_, a_);
  const at::Tensor gradient = q_.ActionGradient(q_gradient).clone();
  a_.requires_grad_();
  EvaluateMlp(q_.parameters(), at::cat({s_, a_}, 1)).squeeze(2).mul(q_gradient).sum().backward();
  EXPECT_TRUE(at::allclose(gradient, a_.grad(), 1e-5, 1e-6));
  EXPECT_TRUE(at::equal(parameters, q_.parameters().flat));
}

}  // namespace
}  // namespace headrace
