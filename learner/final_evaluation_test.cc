#include "learner/final_evaluation.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

using std::chrono::seconds;

constexpr FinalEvaluation::Time kStart{};

TEST(FinalEvaluationTest, IsWaitedForWhileAnEvaluatorIsAtIt) {
  FinalEvaluation evaluation(kStart);
  for (int second = 0; second < 3600; ++second) EXPECT_EQ(evaluation.GivenUp(kStart + seconds(second), true, 2), "");
  EXPECT_EQ(evaluation.GivenUp(kStart + seconds(3600), true, 2), "it took more than 3600 s");
}

TEST(FinalEvaluationTest, AnotherEvaluatorMayComeForAWhile) {
  FinalEvaluation evaluation(kStart);
  EXPECT_EQ(evaluation.GivenUp(kStart + seconds(29), false, 0), "");
  EXPECT_EQ(evaluation.GivenUp(kStart + seconds(40), true, 0), "");
  EXPECT_EQ(evaluation.GivenUp(kStart + seconds(69), false, 0), "");
  EXPECT_EQ(evaluation.GivenUp(kStart + seconds(70), false, 0), "there was no evaluator for 30 s");
}

TEST(FinalEvaluationTest, MayFailTwice) {
  FinalEvaluation evaluation(kStart);
  EXPECT_EQ(evaluation.GivenUp(kStart, true, 2), "");
  EXPECT_EQ(evaluation.GivenUp(kStart, true, 3), "it failed 3 times");
}

}  // namespace
}  // namespace headrace
