#include "learner/stale_items.h"

#include "ATen/ops/tensor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(StaleItemsTest, AreThoseWithAStepOfAnOlderPolicy) {
  const at::Tensor versions =
      at::tensor({7, 7, 0, 7, /**/ 6, 6, 6, 0, /**/ 7, 6, 7, 7, /**/ 8, 0, 8, 0}, at::kLong).view({4, 4});
  EXPECT_THAT(StaleItems(versions, 7), ElementsAre(1, 2));
  EXPECT_THAT(StaleItems(versions, 8), ElementsAre(0, 1, 2));
  EXPECT_THAT(StaleItems(versions, 1), IsEmpty());
}

}  // namespace
}  // namespace headrace
