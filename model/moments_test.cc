#include "model/moments.h"

#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace headrace {
namespace {

// Of one element, by definition.
v1::Moments MomentsOf(const std::vector<double>& values) {
  v1::Moments moments;
  moments.set_count(static_cast<double>(values.size()));
  double mean = 0, m2 = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) m2 += (value - mean) * (value - mean);
  moments.add_mean(mean);
  moments.add_m2(m2);
  return moments;
}

TEST(MergeMomentsTest, EqualsTheMomentsOfBothSamplesTogether) {
  // A large offset: sums of squares would lose every digit.
  const v1::Moments merged = *MergeMoments(MomentsOf({1e9 + 1, 1e9 + 4}), MomentsOf({1e9 + 2, 1e9 + 8, 1e9 + 5}));
  EXPECT_EQ(merged.count(), 5);
  EXPECT_NEAR(merged.mean(0), 1e9 + 4, 1e-6);
  EXPECT_NEAR(merged.m2(0), 9 + 0 + 4 + 16 + 1, 1e-5);  // squares of -3, 0, -2, 4, 1
}

TEST(MergeMomentsTest, NothingMergedWithSomethingIsThat) {
  EXPECT_EQ(MergeMoments({}, MomentsOf({1, 2}))->SerializeAsString(), MomentsOf({1, 2}).SerializeAsString());
  EXPECT_EQ(MergeMoments(MomentsOf({1, 2}), {})->SerializeAsString(), MomentsOf({1, 2}).SerializeAsString());
}

TEST(MergeMomentsTest, RefusesOtherSizesAndNumbersThatCannotBe) {
  v1::Moments two = MomentsOf({1, 2});
  two.add_mean(0);
  EXPECT_EQ(MergeMoments(MomentsOf({1}), two).status().message(),
            "observation moments: 2 means but 1 sums of squared deviations");
  two.add_m2(0);
  EXPECT_EQ(MergeMoments(MomentsOf({1}), two).status().message(), "observation moments: expected 1 elements, got 2");
  v1::Moments negative = MomentsOf({1, 2});
  negative.set_m2(0, -1);
  EXPECT_EQ(MergeMoments(MomentsOf({1}), negative).status().code(), absl::StatusCode::kInvalidArgument);
  v1::Moments infinite = MomentsOf({1, 2});
  infinite.set_mean(0, std::numeric_limits<double>::infinity());
  EXPECT_EQ(MergeMoments(infinite, MomentsOf({1})).status().code(), absl::StatusCode::kInvalidArgument);
}

// A mean of 1e200 used to be merged into an infinite sum of squares, with which every later report was refused.
TEST(MergeMomentsTest, RefusesWhatIsFiniteByItselfAndNotAsAFloatOrTogether) {
  for (const auto& [mean, m2] : {std::pair(1e200, 0.0), {1e39, 0.0}, {0.0, 1e39}, {1e30, 0.0}}) {
    v1::Moments large = MomentsOf({1, 1});
    large.set_mean(0, mean);
    large.set_m2(0, m2);
    EXPECT_EQ(MergeMoments(MomentsOf({1, 2}), large).status().code(), absl::StatusCode::kInvalidArgument) << mean;
    // Of equal numbers that a float32 holds the moments are sound; with others the variance is 1e60 / 4.
    EXPECT_EQ(MergeMoments({}, large).ok(), mean == 1e30) << mean;
  }
}

}  // namespace
}  // namespace headrace
