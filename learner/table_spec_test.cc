#include "learner/table_spec.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

TEST(CheckBatchSizeTest, ABatchThatNoShardGivesIsRefusedBeforeTheRun) {
  v1::RunConfig config;
  config.mutable_actor()->set_processes(32);
  config.mutable_actor()->set_environments(4096);
  Experience experience;
  experience.batch_size = 65536;
  EXPECT_TRUE(CheckBatchSize(config, experience).ok());
  experience.batch_size = 32 * 4096;
  EXPECT_THAT(CheckBatchSize(config, experience).message(), HasSubstr("of up to 65536 items, got 131072"));
  experience.round_steps = 8;
  const absl::Status refused = CheckBatchSize(config, experience);
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(refused.message(), HasSubstr("actor.processes times actor.environments"));
  EXPECT_THAT(refused.message(), HasSubstr("expected up to 65536, got 32 times 4096"));
}

}  // namespace
}  // namespace headrace
