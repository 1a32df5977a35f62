#include "common/policy_version.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr uint64_t kLastUpdate = (uint64_t{1} << 48) - 1;

TEST(PolicyVersionTest, IsTheIncarnationAboveFortyEightBitsOfUpdate) {
  static_assert(PackPolicyVersion(3, 5) == 0x0003'0000'0000'0005);
  EXPECT_EQ(PolicyIncarnation(0xffff'0000'0000'0005), 0xffff);
  EXPECT_EQ(PolicyUpdate(0xffff'0000'0000'0005), 5);
  EXPECT_EQ(PolicyUpdate(PackPolicyVersion(0xffff, kLastUpdate)), kLastUpdate);
  EXPECT_EQ(PolicyVersionName(PackPolicyVersion(2, 1500)), "2:1500");
}

TEST(PolicyVersionTest, OfANewerIncarnationIsNewerThanEveryUpdateOfAnOlderOne) {
  EXPECT_GT(PackPolicyVersion(2, 0), PackPolicyVersion(1, kLastUpdate));
}

TEST(PolicyVersionDeathTest, WhoseFieldsDoNotFitIsABug) {
  EXPECT_DEATH(PackPolicyVersion(1, kLastUpdate + 1), "check failed");
  EXPECT_DEATH(PackPolicyVersion(0x10000, 0), "check failed");
}

TEST(PolicyLagTest, CountsUpdatesWithinAnIncarnation) {
  EXPECT_EQ(PolicyLag(PackPolicyVersion(1, 100), PackPolicyVersion(1, 93)), 7);
  EXPECT_EQ(PolicyLag(PackPolicyVersion(1, 100), PackPolicyVersion(1, 100)), 0);
}

TEST(PolicyLagTest, GoesOnAcrossIncarnations) {
  EXPECT_EQ(PolicyLag(PackPolicyVersion(2, 100), PackPolicyVersion(1, 93)), 7);
}

TEST(PolicyLagTest, IsUnknownForWhatWasTakenBackAndForVersionsAhead) {
  EXPECT_EQ(PolicyLag(PackPolicyVersion(2, 100), PackPolicyVersion(1, 107)), std::nullopt);
  EXPECT_EQ(PolicyLag(PackPolicyVersion(1, 100), PackPolicyVersion(2, 93)), std::nullopt);
  EXPECT_EQ(PolicyLag(PackPolicyVersion(1, 100), PackPolicyVersion(1, 101)), std::nullopt);
  EXPECT_EQ(PolicyLag(PackPolicyVersion(1, 100), 0), std::nullopt);
}

}  // namespace
}  // namespace headrace
