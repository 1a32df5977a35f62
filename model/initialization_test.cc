#include "model/initialization.h"

#include <cmath>

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/eye.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

class InitializationTest : public testing::Test {
 protected:
  MlpParameters parameters_ =
      MlpParameters::Zeros({.inputs = 24, .hidden = {40, 16}, .outputs = 3, .members = 2}, at::kCPU);
  RandomStream random_{1, StreamRole::kTest, 0, StreamPurpose::kInitialization};

  // Uniform numbers come close to their bound b, and have the variance b^2 / 3.
  static void ExpectUniform(const at::Tensor& values, double bound) {
    EXPECT_LE(values.abs().max().item<double>(), bound);
    EXPECT_GT(values.abs().max().item<double>(), 0.97 * bound);
    EXPECT_NEAR(values.square().mean().item<double>(), bound * bound / 3, 0.1 * bound * bound);
  }
};

TEST_F(InitializationTest, FanInUniformIsBoundedByTheRootOfTheInputs) {
  InitializeFanInUniform(parameters_, random_);
  ExpectUniform(parameters_.layers[0].weight, 1 / std::sqrt(24.0));
  ExpectUniform(parameters_.layers[0].bias, 1 / std::sqrt(24.0));
  ExpectUniform(parameters_.layers[1].weight, 1 / std::sqrt(40.0));
  EXPECT_FALSE(at::equal(parameters_.layers[0].weight[0], parameters_.layers[0].weight[1])) << "twins must differ";
}

TEST_F(InitializationTest, XavierUniformIsBoundedByInputsAndOutputsAndHasNoBias) {
  InitializeXavierUniform(parameters_, random_);
  ExpectUniform(parameters_.layers[0].weight, std::sqrt(6.0 / (24 + 40)));
  EXPECT_EQ(parameters_.layers[0].bias.abs().max().item<float>(), 0);
}

TEST_F(InitializationTest, OrthogonalRowsOrColumnsHaveTheLengthOfTheGain) {
  InitializeOrthogonal(parameters_, random_, std::sqrt(2.0), 0.01);
  const at::Tensor wide = parameters_.layers[0].weight[1], tall = parameters_.layers[1].weight[0];
  EXPECT_TRUE(at::allclose(wide.mm(wide.t()), at::eye(24).mul(2), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(tall.t().mm(tall), at::eye(16).mul(2), 1e-5, 1e-5));
  const at::Tensor last = parameters_.layers[2].weight[0];
  EXPECT_TRUE(at::allclose(last.t().mm(last), at::eye(3).mul(1e-4), 1e-5, 1e-9));
  EXPECT_EQ(parameters_.layers[0].bias.abs().max().item<float>(), 0);
}

TEST_F(InitializationTest, SameStreamGivesTheSameNetwork) {
  InitializeFanInUniform(parameters_, random_);
  const at::Tensor first = parameters_.flat.clone();
  RandomStream again(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  InitializeFanInUniform(parameters_, again);
  EXPECT_TRUE(at::equal(first, parameters_.flat));
}

}  // namespace
}  // namespace headrace
