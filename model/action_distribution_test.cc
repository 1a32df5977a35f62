#include "model/action_distribution.h"

#include <array>
#include <cmath>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(ActionDistributionTest, CategoricalLikelihoodIsThatOfTheSoftmax) {
  // softmax(0, log 2, log 5) = 1/8, 2/8, 5/8.
  const at::Tensor logits = at::tensor({0.0f, std::log(2.0f), std::log(5.0f)}).expand({2, 3});
  const ActionLikelihood likelihood = CategoricalLikelihood(logits, at::tensor({2, 0}, at::kInt));
  EXPECT_NEAR(likelihood.log_prob[0].item<double>(), std::log(5.0 / 8), 1e-6);
  EXPECT_NEAR(likelihood.log_prob[1].item<double>(), std::log(1.0 / 8), 1e-6);
  const double entropy = -(1.0 / 8 * std::log(1.0 / 8) + 2.0 / 8 * std::log(2.0 / 8) + 5.0 / 8 * std::log(5.0 / 8));
  EXPECT_NEAR(likelihood.entropy[0].item<double>(), entropy, 1e-6);
}

TEST(ActionDistributionTest, SamplesComeAsOftenAsTheirProbabilitySays) {
  const std::array<float, 3> logits = {100, 100 + std::log(2.0f), 100 + std::log(5.0f)};
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  std::array<int, 3> counts = {};
  constexpr int kDraws = 80000;
  for (int i = 0; i < kDraws; ++i) {
    const DiscreteSample sample = SampleCategorical(logits, random);
    ++counts[sample.action];
    EXPECT_NEAR(sample.log_prob, std::log((sample.action == 0 ? 1 : sample.action == 1 ? 2 : 5) / 8.0), 1e-5);
  }
  // Five standard deviations: 5 sqrt(80000 p (1 - p)).
  EXPECT_NEAR(counts[0], 10000, 470);
  EXPECT_NEAR(counts[1], 20000, 620);
  EXPECT_NEAR(counts[2], 50000, 690);
}

TEST(ActionDistributionTest, ImpossibleActionsAreNeverDrawn) {
  const std::array<float, 3> logits = {-INFINITY, 0, -1e9};
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(SampleCategorical(logits, random).action, 1);
  EXPECT_EQ(MostLikely(logits), 1);
}

TEST(ActionDistributionTest, GaussianLikelihoodIsThatOfIndependentNormals) {
  const at::Tensor mean = at::tensor({0.0f, 1.0f}).unsqueeze(0);
  const at::Tensor log_std = at::tensor({0.0f, std::log(2.0f)});
  const ActionLikelihood likelihood = GaussianLikelihood(mean, log_std, at::tensor({1.0f, 4.0f}).unsqueeze(0));
  // -1/2 - log(2 pi)/2, and -(3/2)^2 / 2 - log 2 - log(2 pi)/2.
  EXPECT_NEAR(likelihood.log_prob[0].item<double>(), -0.5 - 1.125 - std::log(2.0) - std::log(2 * M_PI), 1e-5);
  EXPECT_NEAR(likelihood.entropy[0].item<double>(), 1 + std::log(2 * M_PI) + std::log(2.0), 1e-5);
}

TEST(ActionDistributionTest, AGaussianSamplesLogProbabilityIsItsLikelihood) {
  const std::array<float, 2> mean = {0.3f, -2}, log_std = {-1, 0.5f}, noise = {1.5f, -0.25f};
  std::array<float, 2> action;
  const float log_prob = SampleGaussian(mean, log_std, noise, action);
  EXPECT_NEAR(action[0], 0.3 + 1.5 * std::exp(-1), 1e-6);
  const auto row = [](const std::array<float, 2>& values) { return at::tensor({values[0], values[1]}).unsqueeze(0); };
  const ActionLikelihood likelihood = GaussianLikelihood(row(mean), row(log_std)[0], row(action));
  EXPECT_NEAR(log_prob, likelihood.log_prob.item<double>(), 1e-5);
}

TEST(ActionDistributionTest, DerivativesEqualAutograd) {
  const at::Tensor by_log_prob = at::randn({7}), by_entropy = at::randn({7});
  const auto loss = [&](const ActionLikelihood& likelihood) {
    return (likelihood.log_prob * by_log_prob + likelihood.entropy * by_entropy).sum();
  };
  at::Tensor logits = at::randn({7, 4});
  const at::Tensor chosen = at::randint(4, {7}, at::kInt);
  const PolicyGradient categorical =
      CategoricalBackward(CategoricalLikelihood(logits, chosen), chosen, by_log_prob, by_entropy);
  loss(CategoricalLikelihood(logits.requires_grad_(), chosen)).backward();
  EXPECT_TRUE(at::allclose(categorical.policy, logits.grad(), 1e-5, 1e-6));
  EXPECT_FALSE(categorical.log_std.defined());

  at::Tensor mean = at::randn({7, 4}), log_std = at::randn({4});
  const at::Tensor actions = at::randn({7, 4});
  const PolicyGradient gaussian =
      GaussianBackward(GaussianLikelihood(mean, log_std, actions), log_std, by_log_prob, by_entropy);
  loss(GaussianLikelihood(mean.requires_grad_(), log_std.requires_grad_(), actions)).backward();
  EXPECT_TRUE(at::allclose(gaussian.policy, mean.grad(), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(gaussian.log_std, log_std.grad(), 1e-5, 1e-5));
}

}  // namespace
}  // namespace headrace
