#include "algorithm/loss/temperature_loss.h"

#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(LogTemperatureLossTest, IsMinusLogAlphaTimesTheMissingEntropy) {
  const TemperatureLoss loss = LogTemperatureLoss(at::tensor(2.0f), at::tensor({1.0f, 3.0f}), -6);
  EXPECT_NEAR(loss.loss.item<float>(), 8, 1e-6);  // -2 ((1 + 3) / 2 - 6)
  EXPECT_NEAR(loss.log_temperature_gradient.item<float>(), 4, 1e-6);
}

TEST(LogTemperatureLossTest, DescentRaisesTheTemperatureOfAPolicyWithTooLittleEntropy) {
  // Entropy -5, target -1: a negative gradient, so that descent raises log alpha; the other way round it falls.
  EXPECT_LT(LogTemperatureLoss(at::tensor(0.0f), at::tensor({5.0f}), -1).log_temperature_gradient.item<float>(), 0);
  EXPECT_GT(LogTemperatureLoss(at::tensor(0.0f), at::tensor({-5.0f}), -1).log_temperature_gradient.item<float>(), 0);
}

}  // namespace
}  // namespace headrace
