#include "model/normalizer.h"

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/tensor.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

v1::Moments TwoElements(double count) {
  v1::Moments moments;
  moments.set_count(count);
  moments.add_mean(10);
  moments.add_mean(-1);
  moments.add_m2(4 * count);  // variance 4
  moments.add_m2(0);          // an element that never changes
  return moments;
}

TEST(NormalizerTest, ScalesToZeroMeanAndUnitVarianceAndClips) {
  Normalizer normalizer(2, at::kCPU);
  normalizer.SetMoments(TwoElements(100));
  at::Tensor x = at::tensor({14.0f, -1.0f, 1000.0f, -2.0f}).view({2, 2});
  normalizer.Normalize(x);
  // (14 - 10) / 2; no deviation of a constant; clipped at 10 and, at any distance from a constant, at -10.
  EXPECT_TRUE(at::allclose(x, at::tensor({2.0f, 0.0f, 10.0f, -10.0f}).view({2, 2})));
}

TEST(NormalizerTest, IsTheIdentityUntilThereAreTwoObservations) {
  Normalizer normalizer(2, at::kCPU);
  normalizer.SetMoments(TwoElements(1));
  at::Tensor x = at::tensor({3.0f, -4.0f});
  normalizer.Normalize(x);
  EXPECT_TRUE(at::allclose(x, at::tensor({3.0f, -4.0f})));
}

TEST(NormalizerTest, StatisticsTravelAsNamedTensors) {
  Normalizer source(2, at::kCPU), copy(2, at::kCPU);
  source.SetMoments(TwoElements(100));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(copy.Named("normalizer")[i].name, source.Named("normalizer")[i].name);
    copy.Named("normalizer")[i].tensor.copy_(source.Named("normalizer")[i].tensor);
  }
  at::Tensor a = at::tensor({3.0f, -4.0f}), b = a.clone();
  source.Normalize(a);
  copy.Normalize(b);
  EXPECT_TRUE(at::equal(a, b));
}

}  // namespace
}  // namespace headrace
