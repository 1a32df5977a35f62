// Updates of proximal policy optimisation a second, each of one minibatch, beside the limit that the fastest matrix
// product sets (update_rate.h). At the sizes of deploy/run/half_cheetah_ppo.textproto, with continuous
// and with discrete actions; what a round needs before its first minibatch is counted with them.
//
//   ppo_update [--json] [--device=cpu] [--threads=1,2] [--seconds=3] [--rounds=30]
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/full.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "algorithm/algorithm.h"
#include "tools/bench/update_rate.h"

namespace headrace {
namespace {

constexpr int64_t kSteps = 2048, kMinibatches = 32, kEpochs = 10, kHidden = 64, kObservation = 17, kActions = 6;

UpdateLoop MakeLoop(bool discrete) {
  v1::RunConfig config;
  config.set_topology(v1::SYNCHRONOUS);
  config.mutable_actor()->set_processes(1);
  config.mutable_actor()->set_environments(1);
  v1::PpoOptions& options = *config.mutable_ppo();
  options.set_round_steps(kSteps);
  options.set_minibatches(kMinibatches);
  options.set_epochs(kEpochs);
  options.mutable_network()->set_shared(false);
  options.mutable_network()->add_hidden(kHidden);
  options.mutable_network()->add_hidden(kHidden);
  options.mutable_optimizer()->set_epsilon(1e-5);
  options.mutable_optimizer()->set_max_gradient_norm(0.5);
  v1::EnvironmentSpec environment;
  environment.mutable_observation()->set_data_type(v1::FLOAT32);
  environment.mutable_observation()->add_shape(kObservation);
  environment.mutable_action()->set_data_type(discrete ? v1::INT64 : v1::FLOAT32);
  if (discrete) {
    environment.set_discrete_actions(kActions);
  } else {
    environment.mutable_action()->add_shape(kActions);
  }
  std::vector<Batch> batches;
  for (int i = 0; i < 8; ++i) {
    const at::Tensor zeros = at::zeros({1, kSteps + 1}, at::kByte);
    // About as likely as under the first policy: for all that they are repeated, probabilities stay finite.
    const double log_prob = discrete ? -1.8 : -8.5;
    batches.push_back(
        {{at::randn({1, kSteps + 1, kObservation}),
          discrete ? at::randint(kActions, {1, kSteps + 1}, at::kInt) : at::randn({1, kSteps + 1, kActions}),
          at::randn({1, kSteps + 1}), zeros, zeros, at::full({1, kSteps + 1}, log_prob),
          at::zeros({1, kSteps + 1}, at::kLong)}});
  }
  return UpdateLoop(config, environment, std::move(batches));
}

void Measure(const std::string& name, bool discrete) {
  UpdateLoop loop = MakeLoop(discrete);
  const int64_t policy =
      MultiplyAdds(kObservation, kHidden, kActions) + BackwardMultiplyAdds(kObservation, kHidden, kActions);
  const int64_t value = MultiplyAdds(kObservation, kHidden, 1) + BackwardMultiplyAdds(kObservation, kHidden, 1);
  const int64_t minibatch = kSteps / kMinibatches;
  MeasureUpdates("ppo_update/" + name,
                 {.batch = minibatch,
                  .hidden = kHidden,
                  .multiply_adds = static_cast<double>(minibatch * (policy + value)),
                  .updates_in_a_call = kEpochs * kMinibatches},
                 [&] { loop(); });
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Updates of proximal policy optimisation a second, beside the limit of products.");
  absl::ParseCommandLine(argc, argv);
  headrace::Measure("continuous", false);
  headrace::Measure("discrete", true);
  return 0;
}
