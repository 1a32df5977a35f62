#include "learner/importance_weights.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;

std::vector<float> Weights(std::vector<double> probabilities, double exponent) {
  std::vector<float> weights(probabilities.size());
  ImportanceWeights(probabilities, exponent, weights);
  return weights;
}

// Worked by hand: (N P)^-b over its maximum, for N = 10. (10 * 0.1)^-0.5 = 1, (10 * 0.4)^-0.5 = 0.5,
// (10 * 0.025)^-0.5 = 2, which is the largest.
TEST(ImportanceWeightsTest, AreRelativeToTheLargestOfTheBatch) {
  EXPECT_THAT(Weights({0.1, 0.4, 0.025}, 0.5), ElementsAre(FloatEq(0.5f), FloatEq(0.25f), FloatEq(1.0f)));
}

TEST(ImportanceWeightsTest, MakeUpForTheDrawWhollyWithOneAndNotAtAllWithZero) {
  EXPECT_THAT(Weights({0.2, 0.8}, 1), ElementsAre(FloatEq(1.0f), FloatEq(0.25f)));
  EXPECT_THAT(Weights({0.2, 0.8}, 0), ElementsAre(1, 1));
  EXPECT_THAT(Weights({0.3, 0.3}, 0.4), ElementsAre(1, 1));
}

TEST(ImportanceExponentTest, GrowsLinearlyToOne) {
  EXPECT_DOUBLE_EQ(ImportanceExponent(0.4, 0, 1000), 0.4);
  EXPECT_DOUBLE_EQ(ImportanceExponent(0.4, 500, 1000), 0.7);
  EXPECT_DOUBLE_EQ(ImportanceExponent(0.4, 1000, 1000), 1);
  EXPECT_DOUBLE_EQ(ImportanceExponent(0.4, 2000, 1000), 1);
  EXPECT_DOUBLE_EQ(ImportanceExponent(0.4, 2000, 0), 0.4);
}

}  // namespace
}  // namespace headrace
