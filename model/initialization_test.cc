#include "model/initialization.h"

#include <cmath>

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/zeros.h"
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

TEST_F(InitializationTest, OrthogonalRowsOrColumnsHaveTheLengthOfTheGain) {
  at::Tensor wide = at::zeros({24, 5, 8}), tall = at::zeros({40, 16});
  FillOrthogonal(wide, std::sqrt(2.0), random_);
  FillOrthogonal(tall, 0.01, random_);
  const at::Tensor rows = wide.flatten(1);
  EXPECT_TRUE(at::allclose(rows.mm(rows.t()), at::eye(24).mul(2), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(tall.t().mm(tall), at::eye(16).mul(1e-4), 1e-5, 1e-9));
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
