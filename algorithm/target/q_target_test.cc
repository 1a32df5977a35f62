#include "algorithm/target/q_target.h"

#include "ATen/ops/allclose.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

const at::Tensor kReward = at::tensor({1.0f, -1.0f, 2.0f});
const at::Tensor kDiscount = at::tensor({0.5f, 0.25f, 0.0f});  // the last one terminated
const at::Tensor kTargetQ = at::tensor({8.0f, 4.0f, -2.0f, 6.0f, 100.0f, 50.0f}).view({3, 2});

TEST(QTargetTest, TakesTheTargetNetworksBest) {
  // 1 + 8 / 2, -1 + 6 / 4, 2
  EXPECT_TRUE(at::allclose(QTarget(kReward, kDiscount, kTargetQ), at::tensor({5.0f, 0.5f, 2.0f})));
}

TEST(DoubleQTargetTest, TakesTheTargetNetworksWordOnTheLearningNetworksBest) {
  const at::Tensor q = at::tensor({0.0f, 1.0f, 0.0f, 1.0f, 1.0f, 0.0f}).view({3, 2});
  // 1 + 4 / 2, -1 + 6 / 4, 2
  EXPECT_TRUE(at::allclose(DoubleQTarget(kReward, kDiscount, kTargetQ, q), at::tensor({3.0f, 0.5f, 2.0f})));
}

}  // namespace
}  // namespace headrace
