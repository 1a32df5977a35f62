#include "learner/run_end.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

v1::StopConfig AfterSteps(uint64_t env_steps) {
  v1::StopConfig stop;
  stop.set_env_steps(env_steps);
  return stop;
}

v1::Counters Counted(uint64_t env_steps, uint64_t updates) {
  v1::Counters counters;
  counters.set_env_steps(env_steps);
  counters.set_updates(updates);
  return counters;
}

TEST(RunEndTest, IsThatOfItsSteps) {
  EXPECT_EQ(RunEnd(AfterSteps(100), Counted(99, 0), 0, std::nullopt), "");
  EXPECT_EQ(RunEnd(AfterSteps(100), Counted(103, 0), 0, std::nullopt), "103 environment steps are done");
}

// One update for two of the steps after the first 20: of 100 steps 40. The three steps beyond the end allow no more.
TEST(RunEndTest, ComesAfterTheUpdatesThatTheLastStepsAllow) {
  Ratio ratio = {.updates_per_step = 0.5, .min_steps = 20};
  EXPECT_EQ(RunEnd(AfterSteps(100), Counted(103, 39), 0, ratio), "");
  EXPECT_EQ(RunEnd(AfterSteps(100), Counted(103, 40), 0, ratio), "103 environment steps are done");
  ratio.held = false;  // a queue: what is left in it is not waited for
  EXPECT_EQ(RunEnd(AfterSteps(100), Counted(103, 0), 0, ratio), "103 environment steps are done");
}

TEST(RunEndTest, IsThatOfItsTime) {
  v1::StopConfig stop = AfterSteps(0);
  stop.set_wall_seconds(60);
  EXPECT_EQ(RunEnd(stop, Counted(1'000'000'000, 0), 59, std::nullopt), "");
  EXPECT_EQ(RunEnd(stop, Counted(0, 0), 60, std::nullopt), "60 seconds are over");
}

TEST(RunEndTest, IsThatOfItsScoreReachedAsOftenInARowAsIsAskedFor) {
  v1::StopConfig stop = AfterSteps(100);
  v1::Counters counters = Counted(50, 25);
  counters.set_evaluations_at_score(7);
  EXPECT_EQ(RunEnd(stop, counters, 0, std::nullopt), "") << "there is no score to reach";
  stop.set_score(-150);
  stop.set_consecutive(8);
  EXPECT_EQ(RunEnd(stop, counters, 0, std::nullopt), "");
  stop.set_consecutive(7);
  counters.set_last_evaluation(-140.25);
  EXPECT_EQ(RunEnd(stop, counters, 0, std::nullopt), "the score of -150 is reached: -140.2");
}

TEST(RunEndTest, WhatWasCountedForAnotherScoreDoesNotCount) {
  v1::StopConfig stop = AfterSteps(0);
  stop.set_score(-180);
  stop.set_consecutive(3);
  v1::Counters counters = Counted(50, 25);
  counters.set_evaluations_at_score(3);
  counters.set_counted_score(-180);
  EXPECT_NE(RunEnd(stop, counters, 0, std::nullopt), "");
  stop.set_score(-100);  // on a resume
  EXPECT_EQ(RunEnd(stop, counters, 0, std::nullopt), "");
}

TEST(ProgressTest, IsTheShareOfTheStepsAndNoneWithoutAnEnd) {
  EXPECT_EQ(ProgressAfter(AfterSteps(200), 50), 0.25);
  EXPECT_EQ(ProgressAfter(AfterSteps(200), 203), 1);
  EXPECT_EQ(ProgressAfter(AfterSteps(0), 50), 0);
}

}  // namespace
}  // namespace headrace
