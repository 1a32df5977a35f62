#include "learner/thread_tuner.h"

#include <map>

#include "gtest/gtest.h"

namespace headrace {
namespace {

// Does updates for so many seconds, each as long as its number of threads takes; returns the share of them on `number`.
double ShareOn(int number, ThreadTuner& tuner, const std::map<int, double>& update_seconds, double seconds) {
  int updates = 0;
  int on_it = 0;
  while (seconds > 0) {
    const double update = update_seconds.at(tuner.threads());
    ++updates;
    on_it += tuner.threads() == number;
    seconds -= update;
    tuner.Add(update);
  }
  return static_cast<double>(on_it) / updates;
}

double ShareOnOneThread(ThreadTuner& tuner, const std::map<int, double>& update_seconds, double seconds) {
  return ShareOn(1, tuner, update_seconds, seconds);
}

TEST(ThreadTunerTest, ChangesToAllWhereTheyAreFaster) {
  ThreadTuner tuner(2);
  EXPECT_EQ(tuner.threads(), 1);
  EXPECT_LT(ShareOnOneThread(tuner, {{1, 0.003}, {2, 0.002}}, 300), 0.01);
  const double later = ShareOnOneThread(tuner, {{1, 0.003}, {2, 0.002}}, 300);
  EXPECT_GT(later, 0) << "it was never tried again";
  EXPECT_LT(later, 0.01);
}

TEST(ThreadTunerTest, StaysOnOneWhereThreadsWaitForEachOther) {
  ThreadTuner tuner(4);
  EXPECT_GT(ShareOnOneThread(tuner, {{1, 0.004}, {2, 0.4}, {4, 0.5}}, 300), 0.99);
}

// Updates of a whole round, beside other runs on the same cores: it once took four of them, on all threads, to find
// out.
TEST(ThreadTunerTest, WastesOneUpdateWhereEachIsLong) {
  ThreadTuner tuner(2);
  int slow = 0;
  for (int updates = 0; updates < 100; ++updates) {
    slow += tuner.threads() == 2;
    tuner.Add(tuner.threads() == 1 ? 0.017 : 1.5);
  }
  EXPECT_EQ(slow, 1);
}

// Small products on many cores.
TEST(ThreadTunerTest, FindsTheBestNumberBetweenOneAndAll) {
  ThreadTuner tuner(24);
  const std::map<int, double> seconds = {{1, 0.008}, {2, 0.005}, {4, 0.003}, {8, 0.004}, {12, 0.006}, {24, 0.02}};
  ShareOn(4, tuner, seconds, 300);
  EXPECT_GT(ShareOn(4, tuner, seconds, 100), 0.9);
}

// Another program comes, and goes again.
TEST(ThreadTunerTest, FollowsWhatTheMachineDoes) {
  const std::map<int, double> idle = {{1, 0.003}, {2, 0.002}};
  const std::map<int, double> busy = {{1, 0.004}, {2, 0.2}};
  ThreadTuner tuner(2);
  ShareOnOneThread(tuner, idle, 200);
  ShareOnOneThread(tuner, busy, 2);  // at once, though the last trials were far apart
  EXPECT_GT(ShareOnOneThread(tuner, busy, 60), 0.98);
  ShareOnOneThread(tuner, idle, 100);
  EXPECT_LT(ShareOnOneThread(tuner, idle, 100), 0.02);
}

TEST(ThreadTunerTest, OfOneThreadThereIsNothingToChoose) {
  ThreadTuner tuner(1);
  EXPECT_EQ(ShareOnOneThread(tuner, {{1, 0.01}}, 20), 1);
}

TEST(ThreadTunerTest, StaysWithTheNumberThatIsConfigured) {
  v1::RunConfig config;
  config.mutable_learner()->set_threads(3);
  ThreadTuner tuner = ThreadTuner::For(config);
  EXPECT_EQ(tuner.threads(), 3);
  EXPECT_EQ(ShareOnOneThread(tuner, {{1, 0.001}, {3, 0.1}}, 300), 0);
}

TEST(ThreadTunerTest, LockstepHasOneThreadOnEveryMachine) {
  v1::RunConfig config;
  config.set_deterministic(true);
  ThreadTuner tuner = ThreadTuner::For(config);
  EXPECT_EQ(tuner.threads(), 1);
  EXPECT_EQ(ShareOnOneThread(tuner, {{1, 0.1}, {2, 0.001}}, 300), 1);
}

// Steady differences of a few percent are noise.
TEST(ThreadTunerTest, DoesNotChangeForNearlyNothing) {
  ThreadTuner tuner(2);
  EXPECT_GT(ShareOnOneThread(tuner, {{1, 0.002}, {2, 0.00196}}, 300), 0.99);
}

}  // namespace
}  // namespace headrace
