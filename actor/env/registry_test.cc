#include "actor/env/registry.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

TEST(RegistryTest, MakesTheEnvironmentThatIsNamed) {
  const auto environment = MakeEnvironment("Pendulum-v1");
  ASSERT_TRUE(environment.ok()) << environment.status();
  EXPECT_EQ((*environment)->facts().name, "Pendulum-v1");
  EXPECT_EQ(FindEnvironment("CartPole-v1")->max_episode_steps, 500);
}

TEST(RegistryTest, SuggestsTheNearestNamesForAnUnknownOne) {
  const absl::Status status = MakeEnvironment("pendulun-v1").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("environment.name: there is no environment \"pendulun-v1\"; did you mean Pendulum-v1"));
  EXPECT_EQ(FindEnvironment("pendulun-v1").status(), status);
}

TEST(RegistryTest, ListsAllNamesForAnUnknownOneUnlikeAll) {
  const absl::Status status = FindEnvironment("?").status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("there is Pendulum-v1, CartPole-v1, "));
}

}  // namespace
}  // namespace headrace
