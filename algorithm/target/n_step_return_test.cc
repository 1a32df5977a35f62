#include "algorithm/target/n_step_return.h"

#include "ATen/ops/allclose.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

// Worked by hand, with a discount of 0.5 and n = 3.
TEST(NStepReturnTest, SumsWhatComesBeforeTheBootstrap) {
  const at::Tensor reward = at::tensor({8.0f, 4.0f, 2.0f,   // all three steps
                                        8.0f, 4.0f, 2.0f,   // the third terminates
                                        8.0f, 4.0f, 0.0f,   // the second does: nothing follows
                                        8.0f, 4.0f, 0.0f,   // a time limit after the second
                                        8.0f, 0.0f, 0.0f})  // and after the first
                                .view({5, 3});
  const at::Tensor terminated = at::tensor({0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0}, at::kByte).view({5, 3});
  const at::Tensor rows = at::tensor({4, 4, 3, 3, 2}, at::kInt);
  const NStepReturn target = MakeNStepReturn(reward, terminated, rows, 0.5);
  // 8 + 4 / 2 + 2 / 4, 8 + 4 / 2, 8
  EXPECT_TRUE(at::allclose(target.reward, at::tensor({10.5f, 10.5f, 10.0f, 10.0f, 8.0f})));
  EXPECT_TRUE(at::allclose(target.discount, at::tensor({0.125f, 0.0f, 0.0f, 0.25f, 0.5f})));
}

TEST(NStepReturnTest, IsTheOneStepTargetForOneStep) {
  const at::Tensor reward = at::tensor({3.0f, -1.0f}).view({2, 1});
  const NStepReturn target = MakeNStepReturn(reward, at::tensor({0, 1}, at::kByte).view({2, 1}), {}, 0.9);
  EXPECT_TRUE(at::allclose(target.reward, at::tensor({3.0f, -1.0f})));
  EXPECT_TRUE(at::allclose(target.discount, at::tensor({0.9f, 0.0f})));
}

}  // namespace
}  // namespace headrace
