// Epsilon over the course of a run, and who explores with which: v1::EpsilonGreedyOptions.
//
// The learner knows how much of the run is done. It publishes the present epsilons with the policy's weights, one for
// each last value there is; the environments of an actor each have one of them.
#ifndef HEADRACE_ALGORITHM_EPSILON_GREEDY_H_
#define HEADRACE_ALGORITHM_EPSILON_GREEDY_H_

#include <cstddef>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "common/random.h"
#include "proto/algorithm/q_values.pb.h"
#include "proto/config.pb.h"

namespace headrace {

// InvalidArgument: probabilities that are none, or a run that does not say what it should.
absl::Status CheckExploration(const v1::EpsilonGreedyOptions& options, const v1::RunConfig& config);

// [number of last values], float32, on the CPU, when this share of the run is done.
at::Tensor MakeEpsilons(const v1::EpsilonGreedyOptions& options, double progress);

// Which of the epsilons each of so many environments has. Takes nothing from the stream: the same one gives the same.
std::vector<size_t> DrawEpsilons(const v1::EpsilonGreedyOptions& options, size_t environments,
                                 const RandomStream& exploration);

}  // namespace headrace

#endif  // HEADRACE_ALGORITHM_EPSILON_GREEDY_H_
