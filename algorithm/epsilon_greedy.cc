#include "algorithm/epsilon_greedy.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ATen/ops/tensor.h"
#include "absl/strings/str_format.h"

namespace headrace {

absl::Status CheckExploration(const v1::EpsilonGreedyOptions& options, const v1::RunConfig& config) {
  const int ends = options.end_size(), probabilities = options.end_probability_size();
  if (probabilities > 0) {
    const double sum = std::accumulate(options.end_probability().begin(), options.end_probability().end(), 0.0);
    if (probabilities != ends || std::abs(sum - 1) > 1e-6) {
      return absl::InvalidArgumentError(
          absl::StrFormat("exploration.end_probability: expected one for each of the %d values of exploration.end, of "
                          "sum 1, got %d of sum %g",
                          ends, probabilities, sum));
    }
  }
  if (ends > 1 && config.topology() == v1::CENTRAL_INFERENCE) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "exploration.end: %d values with topology CENTRAL_INFERENCE, where environments have no policy of their own; "
        "expected one",
        ends));
  }
  const auto changes = [&](double end) { return end != options.start(); };
  if (config.stop().env_steps() == 0 && std::ranges::any_of(options.end(), changes)) {
    return absl::InvalidArgumentError(
        "stop.env_steps: 0, but epsilon falls over a share of it; give an end, or exploration.start and "
        "exploration.end the same value");
  }
  return absl::OkStatus();
}

at::Tensor MakeEpsilons(const v1::EpsilonGreedyOptions& options, double progress) {
  const double way = std::clamp(progress / options.share(), 0.0, 1.0);
  std::vector<float> epsilons;
  for (const double end : options.end()) {
    epsilons.push_back(static_cast<float>(options.start() + way * (end - options.start())));
  }
  return at::tensor(epsilons);
}

std::vector<size_t> DrawEpsilons(const v1::EpsilonGreedyOptions& options, size_t environments,
                                 const RandomStream& exploration) {
  RandomStream name = exploration;
  RandomStream random(name.Bits64());  // of its own: what is drawn here has no part in what the other gives next
  const size_t ends = options.end_size();
  std::vector<size_t> drawn(environments);
  for (size_t& end : drawn) {
    if (options.end_probability().empty()) {
      end = random.Below(ends);
      continue;
    }
    double left = random.Uniform();
    while (end + 1 < ends && left >= options.end_probability(static_cast<int>(end))) {
      left -= options.end_probability(static_cast<int>(end++));
    }
  }
  return drawn;
}

}  // namespace headrace
