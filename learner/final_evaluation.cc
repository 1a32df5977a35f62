#include "learner/final_evaluation.h"

#include "absl/strings/str_format.h"

namespace headrace {

std::string FinalEvaluation::GivenUp(Time now, bool has_evaluator, int failures) {
  if (has_evaluator) evaluator_seen_ = now;
  if (now - begin_ >= kPatience) return absl::StrFormat("it took more than %d s", kPatience.count());
  if (now - evaluator_seen_ >= kPatienceWithoutEvaluator) {
    return absl::StrFormat("there was no evaluator for %d s", kPatienceWithoutEvaluator.count());
  }
  return failures >= kAttempts ? absl::StrFormat("it failed %d times", kAttempts) : "";
}

}  // namespace headrace
