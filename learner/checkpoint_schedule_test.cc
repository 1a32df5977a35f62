#include "learner/checkpoint_schedule.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using Time = CheckpointSchedule::Time;

Time At(int seconds) { return Time(std::chrono::seconds(seconds)); }

// When checkpoints begin, each at the first full second in which it is due.
std::vector<int> Begins(CheckpointSchedule schedule, int until) {
  std::vector<int> begins;
  for (int second = 0; second <= until; ++second) {
    if (!schedule.due(At(second))) continue;
    schedule.Started(At(second));
    begins.push_back(second);
  }
  return begins;
}

TEST(CheckpointScheduleTest, OfANewRunTheFirstComesSoonAndEachOfTheNextAfterTwiceTheTime) {
  EXPECT_THAT(Begins(CheckpointSchedule(60, /*resumed=*/false, At(0)), 200),
              testing::ElementsAre(10, 30, 70, 130, 190));
}

TEST(CheckpointScheduleTest, AResumedRunKeepsToTheInterval) {
  EXPECT_THAT(Begins(CheckpointSchedule(60, /*resumed=*/true, At(0)), 200), testing::ElementsAre(60, 120, 180));
}

TEST(CheckpointScheduleTest, AShortIntervalHoldsFromTheStart) {
  EXPECT_THAT(Begins(CheckpointSchedule(4, /*resumed=*/false, At(0)), 13), testing::ElementsAre(4, 8, 12));
}

TEST(CheckpointScheduleTest, WithoutAnIntervalNoneIsEverDue) {
  CheckpointSchedule schedule(0, /*resumed=*/false, At(0));
  schedule.MakeDue();
  EXPECT_THAT(Begins(schedule, 1000), testing::IsEmpty());
}

TEST(CheckpointScheduleTest, OneThatWasMadeDueIsDueAtOnceAndTheNextAfterTheInterval) {
  CheckpointSchedule schedule(60, /*resumed=*/true, At(0));
  schedule.MakeDue();
  EXPECT_THAT(Begins(schedule, 130), testing::ElementsAre(0, 60, 120));
}

TEST(CheckpointScheduleTest, OneThatBeganForAnotherReasonPutsOffTheNext) {
  CheckpointSchedule schedule(60, /*resumed=*/true, At(0));
  schedule.Started(At(50));
  EXPECT_FALSE(schedule.due(At(100)));
  EXPECT_TRUE(schedule.due(At(110)));
}

}  // namespace
}  // namespace headrace
