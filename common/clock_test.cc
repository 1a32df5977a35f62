#include "common/clock.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::system_clock;

TEST(ClockTest, RealTimeNeverGoesBack) {
  const auto before = RealClock()->Now();
  EXPECT_GE(RealClock()->Now(), before);
  EXPECT_GT(RealClock()->WallNow().time_since_epoch(), seconds(1'700'000'000));
}

TEST(ClockTest, FakeTimeStandsStillUntilAdvanced) {
  FakeClock clock;
  const auto now = clock.Now();
  const auto wall = clock.WallNow();
  EXPECT_EQ(clock.Now(), now);
  clock.Advance(milliseconds(1500));
  EXPECT_EQ(clock.Now() - now, milliseconds(1500));
  EXPECT_EQ(clock.WallNow() - wall, milliseconds(1500));
}

TEST(ClockTest, SettingTheTimeOfDayLeavesTheOtherAlone) {
  FakeClock clock;
  const auto now = clock.Now();
  clock.SetWall(system_clock::time_point(seconds(5)));
  EXPECT_EQ(clock.WallNow().time_since_epoch(), seconds(5));
  EXPECT_EQ(clock.Now(), now);
}

}  // namespace
}  // namespace headrace
