#include "learner/autotuner.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "common/random.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using Reason = Autotuner::Reason;

constexpr double kTrial = 5;
constexpr double kTick = 0.02;

// Steps a second by the knobs' values.
using Surface = std::function<double(const std::vector<int>&)>;

// A run whose steps a second follow from the settings, with noise on each tick.
class Simulation {
 public:
  Simulation(std::vector<Autotuner::Knob> knobs, Surface surface, double noise = 0, uint64_t seed = 1)
      : tuner_(knobs, kTrial), surface_(std::move(surface)), noise_(noise), random_(seed) {
    for (const Autotuner::Knob& knob : knobs) applied_.push_back(knob.value);
  }

  void Run(double seconds) {
    for (double until = now_ + seconds; now_ < until; now_ += kTick) Tick();
  }
  void RunUntilNothingIsTried() {
    while (tuner_.trying()) Tick();
  }
  void SetSurface(Surface surface) { surface_ = std::move(surface); }

  const Autotuner& tuner() const { return tuner_; }
  const std::vector<int>& applied() const { return applied_; }
  const std::vector<Autotuner::Change>& changes() const { return changes_; }
  std::vector<int> best() const {
    std::vector<int> values;
    for (const Autotuner::Knob& knob : tuner_.knobs()) values.push_back(knob.value);
    return values;
  }
  double learned() const { return learned_; }
  double seconds() const { return now_; }

 private:
  void Tick() {
    const double steps = std::max(0.0, surface_(applied_) * kTick * (1 + noise_ * random_.Normal()));
    learned_ += steps;
    if (const auto change = tuner_.Observe(kTick, steps); change.has_value()) {
      EXPECT_EQ(change->from, applied_.at(change->knob));
      EXPECT_NE(change->value, change->from) << "a change that is none";
      const Autotuner::Knob& knob = tuner_.knobs().at(change->knob);
      EXPECT_GE(change->value, knob.minimum);
      EXPECT_LE(change->value, knob.maximum);
      applied_.at(change->knob) = change->value;
      changes_.push_back(*change);
    }
    if (!tuner_.trying()) {
      EXPECT_EQ(applied_, best());
    } else {
      int different = 0;
      for (size_t i = 0; i < applied_.size(); ++i) different += applied_[i] != best()[i];
      EXPECT_LE(different, 1) << "more than one knob at a time";
    }
  }

  Autotuner tuner_;
  Surface surface_;
  const double noise_;
  RandomStream random_;
  double now_ = 0;
  double learned_ = 0;
  std::vector<int> applied_;
  std::vector<Autotuner::Change> changes_;
};

// Falls off to both sides of the peak by this part for each doubling.
double Peak(int value, int peak, double part = 0.3) {
  return std::exp(-part * std::abs(std::log2(static_cast<double>(value) / peak)));
}

TEST(AutotunerTest, ATrialIsComparedTwiceWithTheBestSoFarBeforeItIsKept) {
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}}, [](const auto& v) { return 1000.0 * v[0]; });
  run.Run(2 * kTrial + 1);
  ASSERT_EQ(run.changes().size(), 2u);
  EXPECT_EQ(run.changes()[0].reason, Reason::kTry);
  EXPECT_EQ(run.changes()[0].value, 2);
  EXPECT_EQ(run.changes()[1].reason, Reason::kCompare);
  EXPECT_EQ(run.changes()[1].value, 1);
  run.Run(kTrial);
  ASSERT_EQ(run.changes().size(), 3u);
  EXPECT_EQ(run.changes()[2].reason, Reason::kKeep);
  EXPECT_EQ(run.changes()[2].value, 2);
  EXPECT_NEAR(run.changes()[2].best, 1000, 1);
  EXPECT_NEAR(run.changes()[2].tried, 2000, 1);
  EXPECT_EQ(run.tuner().trials(), 1u);
  EXPECT_EQ(run.tuner().rollbacks(), 0u);
}

TEST(AutotunerTest, WhatIsNotClearlyBetterIsRolledBack) {
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}},
                 [](const auto& v) { return v[0] == 2 ? 1040 : 1000; });
  run.Run(300);
  run.RunUntilNothingIsTried();
  EXPECT_EQ(run.best(), std::vector<int>{1});
  EXPECT_GT(run.tuner().trials(), 2u);
  EXPECT_EQ(run.tuner().rollbacks(), run.tuner().trials());
}

TEST(AutotunerTest, NothingIsTriedBeforeATrialsTimeIsOverNorBeforeAnythingIsLearned) {
  double rate = 0;
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}}, [&](const auto&) { return rate; });
  run.Run(10 * kTrial);
  rate = 1000;
  run.Run(kTrial - 1);
  EXPECT_TRUE(run.changes().empty());
  run.Run(2);
  EXPECT_EQ(run.changes().size(), 1u);
}

TEST(AutotunerTest, WithoutAChoiceNothingIsTried) {
  Simulation run({{.name = "threads", .minimum = 3, .maximum = 3, .value = 3}}, [](const auto&) { return 1000; });
  run.Run(300);
  EXPECT_TRUE(run.changes().empty());
  EXPECT_EQ(run.tuner().trials(), 0u);
}

TEST(AutotunerTest, FindsTheOneOptimumOfThreeKnobs) {
  Simulation run(
      {{.name = "prediction", .maximum = 16, .value = 1},
       {.name = "update", .maximum = 16, .value = 1},
       {.name = "actors", .maximum = 64, .value = 64}},
      [](const auto& v) { return 5000 * Peak(v[0], 4) * Peak(v[1], 2) * Peak(v[2], 16); }, /*noise=*/0.2);
  run.Run(600);
  run.RunUntilNothingIsTried();
  EXPECT_EQ(run.best(), (std::vector<int>{4, 2, 16}));
}

// Between powers of two smaller steps lead on.
TEST(AutotunerTest, FindsAnOptimumBetweenPowersOfTwo) {
  Simulation run({{.name = "actors", .maximum = 32, .value = 32}},
                 [](const auto& v) { return 5000 * Peak(v[0], 12, 2); });
  run.Run(600);
  run.RunUntilNothingIsTried();
  EXPECT_NEAR(run.best()[0], 12, 1);
}

TEST(AutotunerTest, OnAPlateauEverythingStaysAsItWas) {
  Simulation run(
      {{.name = "prediction", .maximum = 16, .value = 4}, {.name = "actors", .maximum = 64, .value = 64}},
      [](const auto&) { return 5000; }, /*noise=*/0.3);
  run.Run(3600);
  run.RunUntilNothingIsTried();
  EXPECT_EQ(run.best(), (std::vector<int>{4, 64}));
}

TEST(AutotunerTest, PausesBetweenTrialsGrowWhileNothingWins) {
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}}, [](const auto& v) { return 1000.0 / v[0]; });
  run.Run(3600);
  const uint64_t first_hour = run.tuner().trials();
  const double before = run.learned();
  run.Run(3600);
  EXPECT_LT(run.tuner().trials() - first_hour, 30u);
  EXPECT_GT(run.tuner().trials(), first_hour) << "it is tried again now and then";
  EXPECT_GT(run.learned() - before, 0.985 * 3600 * 1000);
}

// As threads that wait for each other do: a hundredth of the speed.
TEST(AutotunerTest, WhatIsHopelessIsNotLookedAtToItsEnd) {
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}}, [](const auto& v) { return v[0] == 1 ? 1000 : 10; });
  run.Run(kTrial + 0.5);
  ASSERT_EQ(run.changes().size(), 1u);
  run.Run(kTrial / 2);
  ASSERT_EQ(run.changes().size(), 2u);
  EXPECT_EQ(run.changes()[1].reason, Reason::kRollBack);
}

TEST(AutotunerTest, WhatIsClearlyWorseIsLookedAtForHalfOfItsTime) {
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}}, [](const auto& v) { return v[0] == 1 ? 1000 : 800; });
  run.Run(kTrial + 0.5);
  ASSERT_EQ(run.changes().size(), 1u);
  run.Run(0.75 * kTrial);
  ASSERT_EQ(run.changes().size(), 2u);
  EXPECT_EQ(run.changes()[1].reason, Reason::kRollBack);
}

TEST(AutotunerTest, FollowsAnOptimumThatMoves) {
  Simulation run({{.name = "actors", .maximum = 64, .value = 64}}, [](const auto& v) { return 5000 * Peak(v[0], 8); });
  run.Run(1200);
  run.RunUntilNothingIsTried();
  EXPECT_EQ(run.best()[0], 8);
  run.SetSurface([](const auto& v) { return 9000 * Peak(v[0], 32); });
  run.Run(300);
  run.RunUntilNothingIsTried();
  EXPECT_EQ(run.best()[0], 32);
}

// Whatever is tried seems twice as good for the while that another program pauses.
TEST(AutotunerTest, ALoadThatChangesDuringATrialDoesNotMakeItWin) {
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}}, [](const auto& v) { return 1000.0 / v[0]; });
  run.Run(kTrial + 0.5);
  ASSERT_EQ(run.changes().size(), 1u);
  run.SetSurface([](const auto& v) { return 4000.0 / v[0]; });  // from within the trial on
  run.Run(2 * kTrial);
  EXPECT_EQ(run.best(), std::vector<int>{1});
}

TEST(AutotunerTest, WhileNothingIsLearnedAtAllNothingIsConcluded) {
  double rate = 1000;
  Simulation run({{.name = "threads", .maximum = 2, .value = 1}}, [&](const auto& v) { return rate * v[0]; });
  run.Run(2 * kTrial + 1);  // the neighbour has won once
  rate = 0;                 // a shard is lost
  run.Run(60 * kTrial);
  EXPECT_EQ(run.applied(), std::vector<int>{1});
  rate = 3000;
  run.Run(100 * kTrial);
  run.RunUntilNothingIsTried();
  EXPECT_EQ(run.best(), std::vector<int>{2});
  const uint64_t trials = run.tuner().trials();
  rate = 0;
  run.Run(600 * kTrial);
  EXPECT_LE(run.tuner().trials(), trials + 1) << "but for one that had begun before";
}

// Updates that take seconds: 3 of them in a trial's time would differ by a third by chance.
TEST(AutotunerTest, SlowUpdatesAreLookedAtForLonger) {
  Autotuner tuner({{.name = "threads", .maximum = 2, .value = 1}}, kTrial);
  int updates = 0;
  while (!tuner.Observe(1.5, 160).has_value()) ++updates;
  EXPECT_GE(updates, 20);
}

// Properties, on surfaces drawn at random: each tick checks that one knob at a time differs from the best so far, and
// that values stay in their ranges.
class AutotunerPropertyTest : public testing::TestWithParam<uint64_t> {};

TEST_P(AutotunerPropertyTest, NeverEndsWorseThanItBegan) {
  RandomStream random(GetParam());
  std::vector<Autotuner::Knob> knobs;
  std::vector<std::vector<double>> factors;
  for (int i = 0; i < 3; ++i) {
    const int maximum = 1 + static_cast<int>(random.Below(32));
    knobs.push_back({.name = "knob", .maximum = maximum, .value = 1 + static_cast<int>(random.Below(maximum))});
    // Anything but smooth: many local optima.
    std::vector<double>& of_knob = factors.emplace_back();
    for (int value = 0; value <= maximum; ++value) of_knob.push_back(random.Uniform(0.2, 1));
  }
  const Surface surface = [&](const std::vector<int>& values) {
    double rate = 5000;
    for (size_t i = 0; i < values.size(); ++i) rate *= factors[i].at(values[i]);
    return rate;
  };
  std::vector<int> start;
  for (const Autotuner::Knob& knob : knobs) start.push_back(knob.value);
  Simulation run(knobs, surface, /*noise=*/0.5, GetParam());
  for (int i = 0; i < 20; ++i) {
    run.Run(60);
    run.RunUntilNothingIsTried();
    EXPECT_GE(surface(run.best()), 0.95 * surface(start)) << "after " << run.seconds() << " s";
  }
}

INSTANTIATE_TEST_SUITE_P(Surfaces, AutotunerPropertyTest, testing::Range<uint64_t>(1, 101));

}  // namespace
}  // namespace headrace
