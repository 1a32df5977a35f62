#include "tools/warnings.h"

#include "actor/env/registry.h"
#include "actor/environment_spec.h"
#include "algorithm/registry.h"
#include "common/config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kPendulum[] =
    "environment { name: \"Pendulum-v1\" } replay { capacity: 10000 min_steps: 1000 } "
    "evaluation { interval_steps: 1000 } stop { env_steps: 20000 } sac { random_steps: 1000 batch_size: 256 }";

std::vector<std::string> WarningsOf(const std::vector<std::string>& overrides, const char* text = kPendulum) {
  const v1::RunConfig config = *ParseRunConfig(text, "run.textproto", overrides);
  const v1::EnvironmentSpec environment =
      MakeEnvironmentSpec(*FindEnvironment(config.environment().name()), config.environment());
  const Experience experience = *MakeExperience(config, environment);
  return FindWarnings(config, experience, *EstimateRun(config, environment, experience));
}

TEST(WarningsTest, AUsualConfigurationHasNone) { EXPECT_THAT(WarningsOf({}), IsEmpty()); }

TEST(WarningsTest, ReplayThatIsSmallerThanABatch) {
  EXPECT_THAT(WarningsOf({"replay.capacity=256", "replay.min_steps=256"}), IsEmpty());
  EXPECT_THAT(WarningsOf({"replay.capacity=255"}), ElementsAre(HasSubstr("255 items, fewer than the 256 of a batch")));
}

TEST(WarningsTest, StepsThatAreGoneBeforeTheFirstUpdate) {
  EXPECT_THAT(WarningsOf({"replay.min_steps=10000"}), IsEmpty());
  EXPECT_THAT(WarningsOf({"replay.min_steps=10001"}), ElementsAre(HasSubstr("replay.min_steps: of the first 10001")));
}

TEST(WarningsTest, ABudgetThatIsTooSmallForTheCapacity) {
  EXPECT_THAT(WarningsOf({"replay.capacity=1000000", "replay.budget_bytes=2000000"}),
              ElementsAre(HasSubstr("replay.budget_bytes: has place for")));
}

TEST(WarningsTest, ActorsThatAreSpreadUnevenlyOverTheShards) {
  EXPECT_THAT(WarningsOf({"replay.shards=2", "actor.processes=4"}), IsEmpty());
  EXPECT_THAT(WarningsOf({"replay.shards=2", "actor.processes=1"}), ElementsAre(HasSubstr("some stay empty")));
  EXPECT_THAT(WarningsOf({"replay.shards=2", "actor.processes=3"}), ElementsAre(HasSubstr("items go earlier")));
}

TEST(WarningsTest, ARunWithoutAnythingButRandomActions) {
  EXPECT_THAT(WarningsOf({"sac.random_steps=20000"}), ElementsAre(HasSubstr("the first 20000 have random actions")));
}

TEST(WarningsTest, ARunThatEndsBeforeItsFirstEvaluation) {
  EXPECT_THAT(WarningsOf({"evaluation.interval_steps=20000"}), ElementsAre(HasSubstr("evaluation.interval_steps")));
  EXPECT_THAT(WarningsOf({"evaluation.interval_steps=20000", "evaluation.processes=0"}), IsEmpty());
}

TEST(WarningsTest, StepsThatTakeLongerThanAHang) {
  EXPECT_THAT(WarningsOf({"environment.step_delay_seconds=300"}), ElementsAre(HasSubstr("hang_seconds: every step")));
  EXPECT_THAT(WarningsOf({"environment.step_delay_seconds=300", "hang_seconds=0"}), IsEmpty());
}

TEST(WarningsTest, AQueueIsMadeForItsBatches) {
  EXPECT_THAT(WarningsOf({},
                         "topology: QUEUE environment { name: \"CartPole-v1\" } stop { env_steps: 100000 } "
                         "replay { capacity: 1 } actor_critic {}"),
              IsEmpty());
}

}  // namespace
}  // namespace headrace
