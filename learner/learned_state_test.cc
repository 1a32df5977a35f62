#include "learner/learned_state.h"

#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/ones_like.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;

constexpr char kSac[] = "environment { name: \"Pendulum-v1\" } sac { hidden: 4 } seed: ";
constexpr char kAsynchronous[] =
    "environment { name: \"Pendulum-v1\" } topology: ASYNCHRONOUS_GRADIENTS actor_critic { correction: NO_CORRECTION "
    "network { hidden: 4 } } actor { processes: 2 } gradients { statistics: ";

v1::EnvironmentSpec Environment() {
  v1::EnvironmentSpec spec;
  spec.set_name("Pendulum-v1");
  spec.mutable_observation()->set_data_type(v1::FLOAT32);
  spec.mutable_observation()->add_shape(3);
  spec.mutable_action()->set_data_type(v1::FLOAT32);
  spec.mutable_action()->add_shape(1);
  spec.add_action_low(-2);
  spec.add_action_high(2);
  return spec;
}

v1::Moments MomentsOf(double count, std::initializer_list<double> means) {
  v1::Moments moments;
  moments.set_count(count);
  for (const double mean : means) {
    moments.add_mean(mean);
    moments.add_m2(1);
  }
  return moments;
}

// A learned state with the counters of its run.
struct TestRun {
  explicit TestRun(const std::string& config)
      : learned(*LearnedState::Create(*ParseRunConfig(config, "test", {}), Environment(), &counters)) {}

  std::map<std::string, std::string> Files() const { return *learned->CheckpointFiles(losses); }
  LoadedCheckpoint Checkpoint() const {
    LoadedCheckpoint checkpoint;
    *checkpoint.manifest.mutable_counters() = counters;
    checkpoint.files = Files();
    return checkpoint;
  }
  // As an update does.
  void Step() {
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& parameter : learned->parameter_groups()[0].parameters) {
      gradients.push_back(at::ones_like(parameter));
    }
    for (LocalOptimizer& optimizer : *learned->optimizers()) optimizer.Apply(0, gradients);
  }

  const at::Tensor losses = at::zeros({20});
  v1::Counters counters;
  const std::unique_ptr<LearnedState> learned;
};

TEST(LearnedStateTest, IsAsItWasWhenItIsRestored) {
  TestRun before(absl::StrCat(kSac, 1));
  before.Step();
  before.learned->MergeMoments({MomentsOf(10, {1, 2, 3})}, {});
  TestRun after(absl::StrCat(kSac, 2));
  EXPECT_NE(after.Files(), before.Files());
  after.counters = before.counters;
  ASSERT_TRUE(after.learned->Restore(before.Checkpoint()).ok());
  EXPECT_EQ(after.Files(), before.Files());
  before.Step();
  after.Step();
  EXPECT_EQ(after.Files(), before.Files()) << "the optimizers are part of it";
}

TEST(LearnedStateTest, AnotherRunsNetworksComeWithTheMomentsThatScaleTheirInputs) {
  TestRun other(absl::StrCat(kSac, 1));
  other.Step();
  other.counters.set_updates(7);
  other.learned->MergeMoments({MomentsOf(10, {1, 2, 3})}, {MomentsOf(10, {5})});
  TestRun run(absl::StrCat(kSac, 2));
  const std::string optimizer = run.Files().at(kOptimizerFile);
  ASSERT_TRUE(run.learned->TakeNetworks(other.Checkpoint()).ok());
  EXPECT_EQ(run.Files().at(kPolicyFile), other.Files().at(kPolicyFile));
  EXPECT_EQ(run.Files().at(kOptimizerFile), optimizer);
  EXPECT_THAT(run.counters.observation_moments().mean(), ElementsAre(1, 2, 3));
  EXPECT_THAT(run.counters.return_moments().mean(), ElementsAre(5));
  EXPECT_EQ(run.counters.updates(), 0);
}

TEST(LearnedStateTest, ThePolicyIsTheSameAloneAndInACheckpoint) {
  TestRun run(absl::StrCat(kSac, 1));
  EXPECT_EQ(*run.learned->PolicyFile(run.losses), run.Files().at(kPolicyFile));
}

TEST(LearnedStateTest, MomentsOfAllReportsAreMergedButForThoseThatAreNone) {
  TestRun run(absl::StrCat(kSac, 1));
  run.learned->MergeMoments({MomentsOf(1, {0, 0, 0}), MomentsOf(5, {7}), MomentsOf(1, {2, 4, 6})},
                            {MomentsOf(5, {7, 7}), MomentsOf(-1, {7}), MomentsOf(4, {3})});
  EXPECT_EQ(run.counters.observation_moments().count(), 2);
  EXPECT_THAT(run.counters.observation_moments().mean(), ElementsAre(1, 2, 3));
  EXPECT_EQ(run.counters.return_moments().count(), 4);
  EXPECT_THAT(run.counters.return_moments().mean(), ElementsAre(3));
}

TEST(LearnedStateTest, OneReportOfHugeMomentsSpoilsNeitherThoseBeforeNorThoseAfter) {
  TestRun run(absl::StrCat(kSac, 1));
  run.learned->MergeMoments({MomentsOf(1, {0, 0, 0}), MomentsOf(1, {1, 1e200, 1}), MomentsOf(1, {2, 4, 6})}, {});
  EXPECT_EQ(run.counters.observation_moments().count(), 2);
  EXPECT_THAT(run.counters.observation_moments().mean(), ElementsAre(1, 2, 3));
}

TEST(LearnedStateTest, WhatIsNotFiniteIsNeitherSavedNorPublished) {
  TestRun run(absl::StrCat(kSac, 1));
  run.counters.set_updates(7);
  for (const NamedTensor& named : run.learned->algorithm()->PolicyTensors()) {
    if (named.tensor.is_floating_point()) named.tensor.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  for (const absl::Status& status :
       {run.learned->CheckpointFiles(run.losses).status(), run.learned->PolicyFile(run.losses).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_TRUE(absl::StrContains(status.message(), "diverged: after 7 updates")) << status;
  }
}

// Every later step would be zero.
TEST(LearnedStateTest, AnInfiniteAverageOfSquaresIsNotSaved) {
  TestRun run(absl::StrCat(kSac, 1));
  for (const NamedTensor& named : run.learned->optimizers()->front().StateTensors()) {
    if (named.tensor.is_floating_point()) named.tensor.fill_(std::numeric_limits<double>::infinity());
  }
  const absl::Status status = run.learned->CheckpointFiles(run.losses).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::StrContains(status.message(), "diverged")) << status;
}

TEST(LearnedStateTest, ActorsThatPushGradientsHaveStatisticsInCommonOrOfTheirOwn) {
  EXPECT_EQ(TestRun(absl::StrCat(kSac, 1)).learned->optimizers()->size(), 1u);
  EXPECT_EQ(TestRun(absl::StrCat(kAsynchronous, "SHARED }")).learned->optimizers()->size(), 1u);
  TestRun own(absl::StrCat(kAsynchronous, "PER_ACTOR }"));
  ASSERT_EQ(own.learned->optimizers()->size(), 2u);
  own.Step();
  TestRun resumed(absl::StrCat(kAsynchronous, "PER_ACTOR }"));
  ASSERT_TRUE(resumed.learned->Restore(own.Checkpoint()).ok());
  EXPECT_EQ(resumed.Files(), own.Files());
}

}  // namespace
}  // namespace headrace
