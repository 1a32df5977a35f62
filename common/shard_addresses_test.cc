#include "common/shard_addresses.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A name server that knows so many shards.
std::function<bool(const std::string&)> Knows(int shards) {
  return [shards](const std::string& host) {
    for (int i = 0; i < shards; ++i) {
      if (host == "replay-" + std::to_string(i) + ".replay") return true;
    }
    return false;
  };
}

TEST(ShardAddressesTest, AListIsTakenAsItIs) {
  EXPECT_THAT(*ShardAddresses({"a:1", "b:2"}, 2, Knows(0)), ElementsAre("a:1", "b:2"));
}

TEST(ShardAddressesTest, ARunWithoutShardsNeedsNone) {
  EXPECT_THAT(*ShardAddresses({}, 0, Knows(0)), ElementsAre());
  EXPECT_THAT(*ShardAddresses({"replay-{}.replay:7000"}, 0, Knows(2)), ElementsAre());
}

TEST(ShardAddressesTest, AListOfAnotherLengthIsRefused) {
  const absl::Status status = ShardAddresses({"a:1", "b:2"}, 3, Knows(0)).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("expected 3 addresses in --replay"));
  EXPECT_FALSE(ShardAddresses({}, 1, Knows(0)).ok());
}

TEST(ShardAddressesTest, APatternStandsForAsManyAsTheConfigurationSays) {
  EXPECT_THAT(*ShardAddresses({"replay-{}.replay:7000"}, 2, Knows(2)),
              ElementsAre("replay-0.replay:7000", "replay-1.replay:7000"));
  EXPECT_THAT(*ShardAddresses({"replay-{}.replay:7000"}, 1, Knows(1)), ElementsAre("replay-0.replay:7000"));
}

TEST(ShardAddressesTest, ShardsThatHaveNoAddressYetAreWaitedFor) {
  EXPECT_TRUE(ShardAddresses({"replay-{}.replay:7000"}, 2, Knows(1)).ok());
}

TEST(ShardAddressesTest, MoreShardsThanTheConfigurationSaysAreRefused) {
  const absl::Status status = ShardAddresses({"replay-{}.replay:7000"}, 2, Knows(3)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("replay-2.replay has an address too"));
}

TEST(ShardAddressesTest, WhereEveryNameHasAnAddressNobodyIsOneTooMany) {
  const auto knows_all = [](const std::string&) { return true; };
  EXPECT_THAT(*ShardAddresses({"replay-{}.replay:7000"}, 1, knows_all), ElementsAre("replay-0.replay:7000"));
}

TEST(ShardAddressesTest, TheSystemKnowsItself) {
  EXPECT_TRUE(HasAddress("localhost"));
  EXPECT_FALSE(HasAddress("no-such-host.invalid"));
}

}  // namespace
}  // namespace headrace
