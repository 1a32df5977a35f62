// What a run learns: the algorithm with its networks, the optimizers that step them, and the moments by which actors'
// observations and returns are scaled.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<LearnedState> learned, LearnedState::Create(config, environment, &counters));
//   RETURN_IF_ERROR(learned->Restore(checkpoint));                   // or TakeNetworks of another run, or neither
//   ... updates step learned->algorithm() with learned->optimizers() ...
//   ASSIGN_OR_RETURN(std::string policy, learned->PolicyFile(losses));
//
// The moments lie among the run's counters, which every checkpoint holds.
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_LEARNED_STATE_H_
#define HEADRACE_LEARNER_LEARNED_STATE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "algorithm/local_optimizer.h"
#include "common/checkpoint.h"
#include "model/named_tensor.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/run.pb.h"

namespace headrace {

class LearnedState {
 public:
  // As before the first update. `counters` must outlive this. InvalidArgument: the algorithm does not fit the
  // environment.
  static absl::StatusOr<std::unique_ptr<LearnedState>> Create(const v1::RunConfig& config,
                                                              const v1::EnvironmentSpec& environment,
                                                              v1::Counters* counters);

  // All that a checkpoint of this run holds, whose counters are in place already.
  absl::Status Restore(const LoadedCheckpoint& checkpoint);
  // Another run's networks, with the moments that scale what they are given.
  absl::Status TakeNetworks(const LoadedCheckpoint& checkpoint);

  // Merges what actors have counted of observations and returns. What is no sound report is dropped with a warning.
  void MergeMoments(const std::vector<v1::Moments>& observations, const std::vector<v1::Moments>& returns);

  // The files of a checkpoint by name, and the policy alone as actors load it. `losses`: of the newest update, as
  // Algorithm::Metrics. Internal: training has diverged. What is not finite must not take the place of what is.
  absl::StatusOr<std::map<std::string, std::string>> CheckpointFiles(const at::Tensor& losses) const;
  absl::StatusOr<std::string> PolicyFile(const at::Tensor& losses) const;

  Algorithm* algorithm() { return algorithm_.get(); }
  const std::vector<ParameterGroup>& parameter_groups() const { return groups_; }
  // One, or one for each actor process where each has statistics of its own.
  std::vector<LocalOptimizer>* optimizers() { return &optimizers_; }

 private:
  LearnedState(const v1::RunConfig& config, const v1::EnvironmentSpec& environment,
               std::unique_ptr<Algorithm> algorithm, v1::Counters* counters);

  std::vector<NamedTensor> OptimizerTensors() const;
  void SetMoments();
  absl::Status CheckFinite(const std::vector<NamedTensor>& tensors, const at::Tensor& losses) const;

  const std::unique_ptr<Algorithm> algorithm_;
  const std::vector<ParameterGroup> groups_;
  const bool per_actor_;
  std::vector<LocalOptimizer> optimizers_;
  v1::Counters* const counters_;
  int observation_elements_ = 1;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_LEARNED_STATE_H_
