#include "algorithm/annealing.h"

#include "absl/strings/str_cat.h"

namespace headrace {

absl::Status CheckAnnealing(const std::string& field, bool on, const v1::RunConfig& config) {
  if (!on || config.stop().env_steps() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      field, ": true with stop.env_steps: 0, but it falls to 0 at stop.env_steps; expected a number above 0"));
}

}  // namespace headrace
