#include "common/random.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;

RandomStream TestStream(uint64_t seed = 1, uint32_t index = 0) {
  return RandomStream(seed, StreamRole::kTest, index, StreamPurpose::kSampling);
}

std::vector<uint32_t> Draw(RandomStream stream, size_t count) {
  std::vector<uint32_t> numbers(count);
  for (uint32_t& number : numbers) number = stream();
  return numbers;
}

// Known-answer vectors of the paper's reference implementation (Random123, kat_vectors, philox4x32 10).
TEST(Philox4x32Test, GivesTheKnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(RandomStreamTest, StartsWithTheBlockOfItsName) {
  // Seed 0x299f31d0a4093822 is the key (a4093822, 299f31d0); position 0, index 7, role 5 and purpose 5.
  RandomStream stream(0x299f31d0a4093822, StreamRole::kTest, 7, StreamPurpose::kSampling);
  const auto block = Philox4x32({0, 0, 7, 0x00050005}, {0xa4093822, 0x299f31d0});
  EXPECT_THAT(Draw(stream, 4), testing::ElementsAreArray(block));
}

TEST(RandomStreamTest, DependsOnEachPartOfItsName) {
  std::set<std::vector<uint32_t>> streams;
  for (uint64_t seed : {uint64_t{1}, uint64_t{2}, uint64_t{1} << 32}) {
    for (StreamRole role : {StreamRole::kActor, StreamRole::kLearner}) {
      for (uint32_t index : {0u, 1u}) {
        for (StreamPurpose purpose : {StreamPurpose::kEnvironment, StreamPurpose::kExploration}) {
          streams.insert(Draw(RandomStream(seed, role, index, purpose), 4));
        }
      }
    }
    streams.insert(Draw(RandomStream(seed), 4));
  }
  EXPECT_EQ(streams.size(), 3 * (2 * 2 * 2 + 1));
  EXPECT_EQ(Draw(TestStream(), 100), Draw(TestStream(), 100));
}

TEST(RandomStreamTest, StreamsAreUncorrelated) {
  // Neighbouring indices are the likeliest to be related. The correlation of n pairs has deviation 1/sqrt(n) = 0.003.
  constexpr int kPairs = 100'000;
  RandomStream a = TestStream(1, 0), b = TestStream(1, 1);
  double sum = 0;
  for (int i = 0; i < kPairs; ++i) sum += a.Normal() * b.Normal();
  EXPECT_LT(std::abs(sum / kPairs), 5 / std::sqrt(kPairs));
}

TEST(RandomStreamTest, UniformHasTheMomentsOfItsDistribution) {
  constexpr int kCount = 200'000;
  RandomStream stream = TestStream();
  double sum = 0, sum_of_squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = stream.Uniform(-1, 3);
    ASSERT_GE(value, -1);
    ASSERT_LT(value, 3);
    sum += value;
    sum_of_squares += value * value;
  }
  const double mean = sum / kCount;
  // Variance (3 + 1)^2 / 12 = 1.333; deviation of the mean sqrt(1.333 / 200000) = 0.0026.
  EXPECT_NEAR(mean, 1, 0.013);
  EXPECT_NEAR(sum_of_squares / kCount - mean * mean, 4.0 / 3.0, 0.02);
}

TEST(RandomStreamTest, NormalHasTheMomentsOfItsDistribution) {
  constexpr int kCount = 200'000;
  RandomStream stream = TestStream();
  std::vector<float> values(kCount);
  stream.FillNormal(values);
  double moments[5] = {};
  for (float value : values) {
    for (int power = 1; power <= 4; ++power) moments[power] += std::pow(value, power) / kCount;
  }
  // Deviations of the means of x, x^2, x^3, x^4: sqrt(1, 2, 15, 96) / sqrt(200000).
  EXPECT_NEAR(moments[1], 0, 5 * std::sqrt(1.0 / kCount));
  EXPECT_NEAR(moments[2], 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(moments[3], 0, 5 * std::sqrt(15.0 / kCount));
  EXPECT_NEAR(moments[4], 3, 5 * std::sqrt(96.0 / kCount));
}

TEST(RandomStreamTest, BelowIsUniformOverItsRange) {
  constexpr int kCount = 60'000;
  RandomStream stream = TestStream();
  int counts[6] = {};
  for (int i = 0; i < kCount; ++i) {
    const uint64_t value = stream.Below(6);
    ASSERT_LT(value, 6u);
    ++counts[value];
  }
  // Each count is binomial: mean 10000, deviation sqrt(60000 * 5 / 36) = 91.
  for (int count : counts) EXPECT_NEAR(count, kCount / 6, 5 * 91);
  EXPECT_EQ(stream.Below(1), 0u);
}

TEST(RandomStreamTest, BelowRejectsWhatWouldBiasLargeRanges) {
  // With n = 3 * 2^62, bits * n / 2^64 without rejection hits every third value twice as often as the others.
  constexpr int kCount = 30'000;
  constexpr uint64_t kRange = uint64_t{3} << 62;
  RandomStream stream = TestStream();
  int counts[3] = {};
  for (int i = 0; i < kCount; ++i) ++counts[stream.Below(kRange) % 3];
  for (int count : counts) EXPECT_NEAR(count, kCount / 3, 5 * 82);  // sqrt(30000 * 2 / 9) = 82
}

TEST(RandomStreamTest, WorksWithTheStandardLibrary) {
  std::vector<int> shuffled = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  std::shuffle(shuffled.begin(), shuffled.end(), TestStream());
  EXPECT_THAT(shuffled, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
}

}  // namespace
}  // namespace headrace
