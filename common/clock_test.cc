#include "common/clock.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::system_clock;

TEST(ClockTest, RealTimeIsOfThisCentury) {
  EXPECT_GT(RealClock()->WallNow().time_since_epoch(), seconds(1'700'000'000));
}

TEST(ClockTest, FakeTimeStandsStillUntilAdvanced) {
  FakeClock clock;
  const auto wall = clock.WallNow();
  EXPECT_EQ(clock.WallNow(), wall);
  clock.Advance(milliseconds(1500));
  EXPECT_EQ(clock.WallNow() - wall, milliseconds(1500));
  clock.SetWall(system_clock::time_point(seconds(5)));
  EXPECT_EQ(clock.WallNow().time_since_epoch(), seconds(5));
}

}  // namespace
}  // namespace headrace
