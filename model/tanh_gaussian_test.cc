#include "model/tanh_gaussian.h"

#include <cmath>
#include <numbers>

#include "ATen/ops/allclose.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/atanh.h"
#include "ATen/ops/full.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr double kMiddle = kLogSigmaMin + kLogSigmaHalfRange;

// The textbook formula, whose last term overflows for large u.
at::Tensor NaiveLogProb(const at::Tensor& output, const at::Tensor& noise) {
  const int64_t actions = noise.size(1);
  const at::Tensor log_sigma = output.narrow(1, actions, actions).tanh().mul(kLogSigmaHalfRange).add(kMiddle);
  const at::Tensor u = output.narrow(1, 0, actions).add(log_sigma.exp().mul(noise));
  const at::Tensor gaussian = noise.square().mul(-0.5).sub(log_sigma).sub(0.5 * std::log(2 * std::numbers::pi));
  return gaussian.sub(u.tanh().square().neg().add(1).log()).sum(1);
}

TEST(TanhGaussianTest, DensityIntegratesToOne) {
  for (const double mean : {0.0, 0.7, -1.5}) {
    for (const double bound_input : {-0.3, 0.4}) {
      const double sigma = std::exp(kMiddle + kLogSigmaHalfRange * std::tanh(bound_input));
      // The midpoint rule over a in (-1, 1); the noise that leads to a is (atanh(a) - mu) / sigma.
      constexpr int64_t kPoints = 400000;
      const at::Tensor a = at::arange(kPoints, at::kDouble).add(0.5).mul(2.0 / kPoints).sub(1);
      const at::Tensor noise = at::atanh(a).sub(mean).div(sigma).unsqueeze(1);
      const at::Tensor output = at::tensor({mean, bound_input}, at::kDouble).expand({kPoints, 2});
      const TanhGaussianSample sample = SampleTanhGaussian(output, noise);
      EXPECT_TRUE(at::allclose(sample.action.squeeze(1), a, 0, 1e-9));
      EXPECT_NEAR(sample.log_prob.exp().sum().item<double>() * 2.0 / kPoints, 1, 2e-3) << mean << " " << sigma;
    }
  }
}

TEST(TanhGaussianTest, EqualsTheTextbookFormulaWhereThatIsValid) {
  const at::Tensor output = at::randn({200, 6}, at::kDouble).mul(0.5), noise = at::randn({200, 3}, at::kDouble);
  const TanhGaussianSample sample = SampleTanhGaussian(output, noise);
  EXPECT_TRUE(at::allclose(sample.log_prob, NaiveLogProb(output, noise), 1e-9, 1e-9));
}

TEST(TanhGaussianTest, SaturatedActionsKeepAFiniteLogProbability) {
  // log(1 - tanh(u)^2) tends to 2 log 2 - 2|u|; here the mean is u and the noise 0.
  for (const float u : {-60.0f, -20.0f, 20.0f, 60.0f}) {
    const TanhGaussianSample sample = SampleTanhGaussian(at::tensor({u, 0.0f}).view({1, 2}), at::full({1, 1}, 0.0f));
    const double expected = -kMiddle - 0.5 * std::log(2 * std::numbers::pi) - 2 * std::numbers::ln2 + 2 * std::abs(u);
    EXPECT_NEAR(sample.log_prob.item<double>(), expected, 1e-4);
  }
}

TEST(TanhGaussianTest, ScaleStaysWithinItsBounds) {
  const at::Tensor output = at::tensor({0.0, -1e4, 0.0, 1e4}, at::kDouble).view({2, 2});
  const TanhGaussianSample sample = SampleTanhGaussian(output, at::full({2, 1}, 1.0, at::kDouble));
  EXPECT_NEAR(sample.scaled_noise[0].item<double>(), std::exp(-5), 1e-12);
  EXPECT_NEAR(sample.scaled_noise[1].item<double>(), std::exp(2), 1e-12);
}

TEST(TanhGaussianTest, GradientsEqualAutograd) {
  const at::Tensor noise = at::randn({7, 2}, at::kDouble);
  for (const int64_t rows : {7, 4}) {  // a loss of all rows, and of the first four
    const at::Tensor action_gradient = at::randn({rows, 2}, at::kDouble),
                     log_prob_gradient = at::randn({rows}, at::kDouble);
    at::Tensor output = at::randn({7, 4}, at::kDouble);
    const TanhGaussianSample sample = SampleTanhGaussian(output, noise);
    at::Tensor output_gradient = at::randn({rows, 4}, at::kDouble);
    TanhGaussianBackward(sample, action_gradient, log_prob_gradient, output_gradient);

    output.requires_grad_();
    const at::Tensor log_sigma = output.narrow(1, 2, 2).tanh().mul(kLogSigmaHalfRange).add(kMiddle);
    const at::Tensor action = output.narrow(1, 0, 2).add(log_sigma.exp().mul(noise)).tanh();
    const at::Tensor log_prob = NaiveLogProb(output, noise);
    action.narrow(0, 0, rows)
        .mul(action_gradient)
        .sum()
        .add(log_prob.narrow(0, 0, rows).mul(log_prob_gradient).sum())
        .backward();
    EXPECT_TRUE(at::allclose(output_gradient, output.grad().narrow(0, 0, rows), 1e-7, 1e-9));
  }
}

}  // namespace
}  // namespace headrace
