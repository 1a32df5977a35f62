#include "model/moments_accumulator.h"

#include <array>
#include <vector>

#include "gtest/gtest.h"

namespace headrace {
namespace {

// Two elements of different magnitude; the second has a large mean, where sums of squares would lose the variance:
// with 1e6 + {0, 1, 2, 3}, the mean is 1e6 + 1.5 and the sum of squared deviations 2.25 + 0.25 + 0.25 + 2.25 = 5.
TEST(MomentsAccumulatorTest, EqualsDirectComputation) {
  MomentsAccumulator accumulator(2);
  const std::vector<float> first = {1, -2, 0.5f, 8};
  double mean = 0;
  for (const float value : first) mean += value / 4;
  double m2 = 0;
  for (const float value : first) m2 += (value - mean) * (value - mean);
  for (int i = 0; i < 4; ++i) {
    const std::array<float, 2> observation = {first[i], 1e6f + static_cast<float>(i)};
    accumulator.Add(observation);
  }
  EXPECT_EQ(accumulator.count(), 4);
  const v1::Moments moments = accumulator.Take();
  EXPECT_EQ(moments.count(), 4);
  ASSERT_EQ(moments.mean_size(), 2);
  ASSERT_EQ(moments.m2_size(), 2);
  EXPECT_NEAR(moments.mean(0), mean, 1e-12);
  EXPECT_NEAR(moments.m2(0), m2, 1e-12);
  EXPECT_NEAR(moments.mean(1), 1e6 + 1.5, 1e-9);
  EXPECT_NEAR(moments.m2(1), 5, 1e-9);
}

TEST(MomentsAccumulatorTest, StartsAnewAfterTake) {
  MomentsAccumulator accumulator(1);
  accumulator.Add(std::array<float, 1>{100});
  accumulator.Take();
  EXPECT_EQ(accumulator.count(), 0);
  accumulator.Add(std::array<float, 1>{3});
  const v1::Moments moments = accumulator.Take();
  EXPECT_EQ(moments.count(), 1);
  EXPECT_EQ(moments.mean(0), 3);
  EXPECT_EQ(moments.m2(0), 0);
}

TEST(MomentsAccumulatorTest, OfNothingIsZero) {
  const v1::Moments moments = MomentsAccumulator(3).Take();
  EXPECT_EQ(moments.count(), 0);
  EXPECT_EQ(moments.mean_size(), 3);
}

}  // namespace
}  // namespace headrace
