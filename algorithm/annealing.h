// Options that fall linearly over a run need one that ends.
#ifndef HEADRACE_ALGORITHM_ANNEALING_H_
#define HEADRACE_ALGORITHM_ANNEALING_H_

#include <string>

#include "absl/status/status.h"
#include "proto/config.pb.h"

namespace headrace {

// InvalidArgument: the option `field` is on, but the run has no stop.env_steps.
absl::Status CheckAnnealing(const std::string& field, bool on, const v1::RunConfig& config);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_ANNEALING_H_
