// How long the evaluation of a run's final weights is waited for.
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_FINAL_EVALUATION_H_
#define HEADRACE_LEARNER_FINAL_EVALUATION_H_

#include <chrono>
#include <string>

namespace headrace {

class FinalEvaluation {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // Long enough for slow simulators: an evaluator that hangs ends itself long before.
  static constexpr std::chrono::seconds kPatience{3600};
  static constexpr std::chrono::seconds kPatienceWithoutEvaluator{30};
  static constexpr int kAttempts = 3;

  explicit FinalEvaluation(Time begin) : begin_(begin), evaluator_seen_(begin) {}

  // Why it is waited for no longer; empty: it is. `failures`: of evaluations since the begin.
  std::string GivenUp(Time now, bool has_evaluator, int failures);

 private:
  const Time begin_;
  Time evaluator_seen_;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_FINAL_EVALUATION_H_
