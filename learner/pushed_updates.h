// Updates from gradients that actors push: asynchronous gradients, Mnih et al., arXiv:1602.01783.
#ifndef HEADRACE_LEARNER_PUSHED_UPDATES_H_
#define HEADRACE_LEARNER_PUSHED_UPDATES_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "algorithm/local_optimizer.h"
#include "learner/gradient_service.h"
#include "learner/update_source.h"
#include "proto/config.pb.h"

namespace headrace {

class PushedUpdates : public UpdateSource {
 public:
  // InvalidArgument: an algorithm of this name has more state than the message that brings it to an actor can hold.
  static absl::Status CheckSize(const std::string& algorithm, const std::vector<NamedTensor>& state);
  // Opens `service`, with the weights as they are. `groups`: the algorithm's parameters. `optimizers`: one for all
  // actors, or one for each, by index. The pointers must outlive this.
  static absl::StatusOr<std::unique_ptr<PushedUpdates>> Start(const v1::GradientConfig& config, uint64_t env_steps,
                                                              uint64_t version, std::vector<ParameterGroup> groups,
                                                              Algorithm* algorithm,
                                                              std::vector<LocalOptimizer>* optimizers,
                                                              GradientService* service);

  // Of no use: a gradient that is too old, not finite, or known already. It is answered with the weights there are.
  absl::StatusOr<Arrival> Next(const Moment& moment, Deadline deadline) override;
  // Internal: the parameters are not finite any more. Nobody is given them.
  absl::Status Update(const Moment& moment) override;
  void Done(const Moment& moment) override;

  at::Tensor Metrics() const override { return metrics_; }
  double policy_lag() const override { return staleness_; }
  ReplaySampler::Stats stats() const override;
  uint64_t env_steps() const override { return env_steps_; }

 private:
  struct Newest {
    uint64_t pusher = 0;
    uint64_t number = 0;
    v1::GradientVerdict verdict = v1::GRADIENT_VERDICT_UNSPECIFIED;
  };

  PushedUpdates(const v1::GradientConfig& config, uint64_t env_steps, std::vector<ParameterGroup> groups,
                Algorithm* algorithm, std::vector<LocalOptimizer>* optimizers, GradientService* service);

  absl::Status PublishWeights(uint64_t version);
  // What a gradient that has not come before deserves.
  v1::GradientVerdict Judge(const GradientPush& push, uint64_t version);
  std::vector<at::Tensor> Split(const std::string& bytes, const std::vector<at::Tensor>& parameters) const;

  const v1::GradientConfig config_;
  const std::vector<ParameterGroup> groups_;
  Algorithm* const algorithm_;
  std::vector<LocalOptimizer>* const optimizers_;
  GradientService* const service_;
  std::optional<GradientPush> push_;   // between Next and Done
  std::map<uint32_t, Newest> newest_;  // of each actor's gradients, by index
  at::Tensor metrics_;
  double staleness_;  // a running mean
  std::atomic<uint64_t> env_steps_;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_PUSHED_UPDATES_H_
