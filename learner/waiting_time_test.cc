#include "learner/waiting_time.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

using std::chrono::seconds;

class WaitingTimeTest : public testing::Test {
 protected:
  MetricRegistry registry_{"learner"};
  LearnerMetrics metrics_{registry_};
  const WaitingTime::Clock::time_point start_{};
  WaitingTime waiting_{&metrics_.waiting, start_};
};

TEST_F(WaitingTimeTest, EachMomentIsBookedOnce) {
  waiting_.Count(metrics_.waiting.first_actor, start_ + seconds(2));
  waiting_.Count(ReplaySampler::Wait::kActors, start_ + seconds(5));
  waiting_.Count(ReplaySampler::Wait::kItems, start_ + seconds(4));  // that time has gone to the actors
  waiting_.Count(ReplaySampler::Wait::kBatch, start_ + seconds(6));
  EXPECT_EQ(metrics_.waiting.first_actor.Value(), 2);
  EXPECT_EQ(metrics_.waiting.actors.Value(), 3);
  EXPECT_EQ(metrics_.waiting.items.Value(), 0);
  EXPECT_EQ(metrics_.waiting.batch.Value(), 1);
}

TEST_F(WaitingTimeTest, UpdatesAndOtherWorkAreNoWaiting) {
  waiting_.Begin(start_ + seconds(10));
  waiting_.LeaveOut(seconds(1));
  waiting_.Count(ReplaySampler::Wait::kShards, start_ + seconds(14));
  EXPECT_EQ(metrics_.waiting.shards.Value(), 3);
  EXPECT_EQ(waiting_.Waited(start_ + seconds(14)), 3);
}

}  // namespace
}  // namespace headrace
