#include "common/clock.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(ClockTest, RealTimeNeverGoesBack) {
  const absl::Duration before = RealClock()->Monotonic();
  EXPECT_GE(RealClock()->Monotonic(), before);
  EXPECT_GT(RealClock()->Wall(), absl::FromUnixSeconds(1'700'000'000));
}

TEST(ClockTest, FakeTimeStandsStillUntilAdvanced) {
  FakeClock clock(absl::FromUnixSeconds(100));
  EXPECT_EQ(clock.Monotonic(), absl::ZeroDuration());
  EXPECT_EQ(clock.Wall(), absl::FromUnixSeconds(100));
  clock.Advance(absl::Milliseconds(1500));
  EXPECT_EQ(clock.Monotonic(), absl::Milliseconds(1500));
  EXPECT_EQ(clock.Wall(), absl::FromUnixMillis(101500));
}

TEST(ClockTest, SettingTheTimeOfDayLeavesTheMonotonicTimeAlone) {
  FakeClock clock;
  clock.Advance(absl::Seconds(2));
  clock.SetWall(absl::FromUnixSeconds(5));
  EXPECT_EQ(clock.Monotonic(), absl::Seconds(2));
  EXPECT_EQ(clock.Wall(), absl::FromUnixSeconds(5));
}

}  // namespace
}  // namespace headrace
