#include "algorithm/epsilon_greedy.h"

#include <string>

#include "ATen/ops/allclose.h"
#include "ATen/ops/tensor.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

v1::EpsilonGreedyOptions Options(const std::string& text) {
  v1::EpsilonGreedyOptions options;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &options));
  return options;
}

std::string Error(const std::string& text, const v1::RunConfig& config) {
  const absl::Status status = CheckExploration(Options(text), config);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(EpsilonGreedyTest, EpsilonFallsLinearlyOverItsShareOfTheRun) {
  const v1::EpsilonGreedyOptions options = Options("start: 0.9 share: 0.2 end: 0.1 end: 0.5");
  const struct {
    double progress;
    float first, second;
  } expected[] = {{0, 0.9f, 0.9f}, {0.05, 0.7f, 0.8f}, {0.1, 0.5f, 0.7f}, {0.2, 0.1f, 0.5f}, {1, 0.1f, 0.5f}};
  for (const auto& [progress, first, second] : expected) {
    EXPECT_TRUE(at::allclose(MakeEpsilons(options, progress), at::tensor({first, second}))) << progress;
  }
}

TEST(EpsilonGreedyTest, EnvironmentsDrawOnceWithTheGivenProbabilities) {
  const v1::EpsilonGreedyOptions options =
      Options("end: 0.1 end: 0.01 end: 0.5 end_probability: 0.4 end_probability: 0.3 end_probability: 0.3");
  const RandomStream stream(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  constexpr size_t kEnvironments = 10000;
  const std::vector<size_t> drawn = DrawEpsilons(options, kEnvironments, stream);
  EXPECT_EQ(drawn, DrawEpsilons(options, kEnvironments, stream));
  size_t counts[3] = {};
  for (const size_t end : drawn) ++counts[end];
  double chi_square = 0;
  for (const auto& [count, probability] : {std::pair{counts[0], 0.4}, {counts[1], 0.3}, {counts[2], 0.3}}) {
    const double expected = probability * kEnvironments;
    chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 13.8);  // 0.999 of two degrees of freedom
}

TEST(EpsilonGreedyTest, WithoutProbabilitiesAllAreAlike) {
  const RandomStream stream(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  size_t counts[2] = {};
  for (const size_t end : DrawEpsilons(Options("end: 0.1 end: 0.5"), 10000, stream)) ++counts[end];
  EXPECT_NEAR(counts[0], 5000, 200);  // four deviations
}

TEST(EpsilonGreedyTest, RefusesWhatIsNoChoice) {
  const v1::RunConfig config;
  EXPECT_TRUE(CheckExploration(Options("end: 0.1 end: 0.5 end_probability: 0.25 end_probability: 0.75"), config).ok());
  EXPECT_THAT(Error("end: 0.1 end: 0.5 end_probability: 1", config),
              HasSubstr("expected one for each of the 2 values of exploration.end, of sum 1, got 1 of sum 1"));
  EXPECT_THAT(Error("end: 0.1 end: 0.5 end_probability: 0.5 end_probability: 0.25", config),
              HasSubstr("got 2 of sum 0.75"));
}

TEST(EpsilonGreedyTest, RefusesARunThatDoesNotSayWhatItShould) {
  v1::RunConfig config;
  config.mutable_stop()->set_env_steps(0);
  EXPECT_THAT(Error("end: 0.1", config), HasSubstr("stop.env_steps: 0, but epsilon falls over a share of it"));
  EXPECT_TRUE(CheckExploration(Options("start: 0.1 end: 0.1"), config).ok());
  config.clear_stop();
  config.set_topology(v1::CENTRAL_INFERENCE);
  EXPECT_TRUE(CheckExploration(Options("end: 0.1"), config).ok());
  EXPECT_THAT(Error("end: 0.1 end: 0.5", config), HasSubstr("exploration.end: 2 values with topology"));
}

}  // namespace
}  // namespace headrace
