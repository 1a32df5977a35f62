// Checks of algorithms' options, with one wording.
#ifndef HEADRACE_ALGORITHM_OPTION_RANGE_H_
#define HEADRACE_ALGORITHM_OPTION_RANGE_H_

#include <string_view>

#include "absl/status/status.h"

namespace headrace {

// InvalidArgument, as "sac.tau: expected a number above 0, got -1", unless the number is finite and in the range.
// `name` is the option's path in the configuration.
absl::Status CheckFinite(std::string_view name, double value);
absl::Status CheckPositive(std::string_view name, double value);
absl::Status CheckFraction(std::string_view name, double value);            // in [0, 1]
absl::Status CheckCount(std::string_view name, double value, double most);  // in [1, most]

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_OPTION_RANGE_H_
