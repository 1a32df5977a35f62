#include "algorithm/local_optimizer.h"

#include <cmath>

#include "ATen/ops/equal.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

v1::OptimizerOptions Options(v1::OptimizerKind kind) {
  v1::OptimizerOptions options;
  options.set_kind(kind);
  options.set_learning_rate(0.1);
  options.set_epsilon(1e-3);
  options.set_decay(0.9);
  return options;
}

const v1::OptimizerOptions kOptions = Options(v1::ADAM);

TEST(LocalOptimizerTest, StepsByAdamsRule) {
  const at::Tensor parameter = at::tensor({1.0f});
  LocalOptimizer optimizer({{"a", {parameter}, kOptions}});
  double x = 1, m = 0, v = 0;
  const double gradients[] = {0.5, -2, 3};
  for (int t = 1; t <= 3; ++t) {
    const double g = gradients[t - 1];
    optimizer.Apply(0, {at::tensor({static_cast<float>(g)})});
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    x -= 0.1 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-3);
    EXPECT_NEAR(parameter.item<double>(), x, 1e-6) << "step " << t;
  }
}

TEST(LocalOptimizerTest, RmsPropHasEpsilonOutsideOrInsideTheRoot) {
  for (const bool inside : {false, true}) {
    const at::Tensor parameter = at::tensor({1.0f});
    LocalOptimizer optimizer({{"a", {parameter}, Options(inside ? v1::RMSPROP_EPSILON_INSIDE : v1::RMSPROP)}});
    double x = 1, v = 0;
    for (const double g : {0.05, -2.0, 3.0}) {
      optimizer.Apply(0, {at::tensor({static_cast<float>(g)})});
      v = 0.9 * v + 0.1 * g * g;
      x -= 0.1 * g / (inside ? std::sqrt(v + 1e-3) : std::sqrt(v) + 1e-3);
      EXPECT_NEAR(parameter.item<double>(), x, 1e-6) << (inside ? "inside" : "outside");
    }
  }
}

TEST(LocalOptimizerTest, AnnealedRatesFallLinearlyToNothing) {
  v1::OptimizerOptions options = Options(v1::RMSPROP);
  options.set_anneal(true);
  options.set_decay(0);  // steps of the learning rate, whatever the gradient
  options.set_epsilon(0);
  const at::Tensor parameter = at::tensor({1.0f});
  LocalOptimizer optimizer({{"a", {parameter}, options}});
  optimizer.SetProgress(0.75);
  optimizer.Apply(0, {at::tensor({2.0f})});
  EXPECT_NEAR(parameter.item<double>(), 1 - 0.025, 1e-6);
  optimizer.SetProgress(1.1);
  optimizer.Apply(0, {at::tensor({2.0f})});
  EXPECT_NEAR(parameter.item<double>(), 1 - 0.025, 1e-6);
}

TEST(LocalOptimizerTest, GradientsAreClippedByTheirNormOverAllParameters) {
  v1::OptimizerOptions options = Options(v1::RMSPROP);
  options.set_max_gradient_norm(1);
  options.set_decay(1);  // the mean square stays 0
  options.set_epsilon(1);
  const at::Tensor a = at::tensor({0.0f}), b = at::tensor({0.0f});
  LocalOptimizer optimizer({{"a", {a, b}, options}});
  optimizer.Apply(0, {at::tensor({3.0f}), at::tensor({4.0f})});  // of norm 5
  EXPECT_NEAR(a.item<double>(), -0.1 * 0.6, 1e-6);
  EXPECT_NEAR(b.item<double>(), -0.1 * 0.8, 1e-6);
  optimizer.Apply(0, {at::tensor({0.3f}), at::tensor({0.4f})});  // of norm 0.5: as it is
  EXPECT_NEAR(a.item<double>(), -0.1 * 0.9, 1e-6);
}

TEST(LocalOptimizerTest, StepsOneGroupOnly) {
  const at::Tensor a = at::tensor({1.0f}), b = at::tensor({1.0f, 2.0f}), scalar = at::tensor(3.0f);
  LocalOptimizer optimizer({{"a", {a}, kOptions}, {"b", {b, scalar}, kOptions}});
  optimizer.Apply(1, {at::tensor({1.0f, 0.0f}), at::tensor(-1.0f)});
  EXPECT_EQ(a.item<float>(), 1);
  EXPECT_LT(b[0].item<float>(), 1);
  EXPECT_EQ(b[1].item<float>(), 2);
  EXPECT_GT(scalar.item<float>(), 3);
}

TEST(LocalOptimizerTest, ListsItsStateByGroupAndContinuesFromIt) {
  const at::Tensor a = at::tensor({1.0f}), b = at::tensor({1.0f});
  LocalOptimizer optimizer({{"actor", {a}, kOptions}});
  for (int i = 0; i < 3; ++i) optimizer.Apply(0, {at::tensor({0.5f + static_cast<float>(i)})});
  const std::vector<NamedTensor> state = optimizer.StateTensors();
  ASSERT_EQ(state.size(), 3u);
  EXPECT_EQ(state[0].name, "optimizer/actor/0/exp_avg");
  EXPECT_EQ(state[1].name, "optimizer/actor/0/exp_avg_sq");
  EXPECT_EQ(state[2].name, "optimizer/actor/0/step");
  EXPECT_EQ(state[2].tensor.item<float>(), 3);

  b.copy_(a);
  LocalOptimizer restored({{"actor", {b}, kOptions}});
  for (size_t i = 0; i < state.size(); ++i) restored.StateTensors()[i].tensor.copy_(state[i].tensor);
  optimizer.Apply(0, {at::tensor({-1.0f})});
  restored.Apply(0, {at::tensor({-1.0f})});
  EXPECT_TRUE(at::equal(a, b));
}

}  // namespace
}  // namespace headrace
