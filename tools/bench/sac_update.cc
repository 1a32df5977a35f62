// Updates of soft actor-critic a second, beside the limit that the fastest matrix product sets (update_rate.h).
//
//   sac_update [--json] [--device=cpu] [--threads=1,2] [--seconds=3] [--rounds=200]
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/rand.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "algorithm/algorithm.h"
#include "tools/bench/update_rate.h"

namespace headrace {
namespace {

struct Sizes {
  int64_t batch, hidden, observation, action;
};

// Of the matrix products in one update.
double UpdateMultiplyAdds(const Sizes& sizes) {
  const int64_t q = 2 * MultiplyAdds(sizes.observation + sizes.action, sizes.hidden, 1);
  const int64_t q_first = 2 * (sizes.observation + sizes.action) * sizes.hidden;
  const int64_t pi = MultiplyAdds(sizes.observation, sizes.hidden, 2 * sizes.action);
  const int64_t target = pi + q;  // a' ~ pi(s'), Q'(s', a')
  const int64_t critic = q + 2 * BackwardMultiplyAdds(sizes.observation + sizes.action, sizes.hidden, 1);
  const int64_t actor_by_action = 2 * sizes.action * sizes.hidden + (q - q_first);
  const int64_t actor = pi + q + actor_by_action +
                        BackwardMultiplyAdds(sizes.observation, sizes.hidden, 2 * sizes.action);  // pi(s), Q(s, a~)
  return static_cast<double>(sizes.batch * (target + critic + actor));
}

UpdateLoop MakeLoop(const Sizes& sizes) {
  v1::RunConfig config;
  config.mutable_sac()->add_hidden(static_cast<uint32_t>(sizes.hidden));
  config.mutable_sac()->add_hidden(static_cast<uint32_t>(sizes.hidden));
  config.mutable_sac()->set_batch_size(static_cast<uint32_t>(sizes.batch));
  v1::EnvironmentSpec environment;
  environment.mutable_observation()->set_data_type(v1::FLOAT32);
  environment.mutable_observation()->add_shape(static_cast<uint32_t>(sizes.observation));
  environment.mutable_action()->set_data_type(v1::FLOAT32);
  environment.mutable_action()->add_shape(static_cast<uint32_t>(sizes.action));
  std::vector<Batch> batches;
  for (int i = 0; i < 8; ++i) {
    batches.push_back(
        {{at::randn({sizes.batch, 2, sizes.observation}), at::rand({sizes.batch, 1, sizes.action}).mul_(2).sub_(1),
          at::randn({sizes.batch, 1}), at::randint(100, {sizes.batch, 1}).eq(0).to(at::kByte),
          at::randint(100, {sizes.batch, 1}, at::kLong)}});
  }
  return UpdateLoop(config, environment, std::move(batches));
}

void Measure(const Sizes& sizes) {
  UpdateLoop loop = MakeLoop(sizes);
  MeasureUpdates("sac_update/batch" + std::to_string(sizes.batch) + "_hidden" + std::to_string(sizes.hidden),
                 {.batch = sizes.batch, .hidden = sizes.hidden, .multiply_adds = UpdateMultiplyAdds(sizes)},
                 [&] { loop(); });
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Updates of soft actor-critic a second, beside the limit of matrix products.");
  absl::ParseCommandLine(argc, argv);
  headrace::Measure({.batch = 256, .hidden = 256, .observation = 17, .action = 6});
  headrace::Measure({.batch = 64, .hidden = 64, .observation = 3, .action = 1});
  // For a processor too many: an update has 150 billion operations.
  if (headrace::OnGpu()) headrace::Measure({.batch = 4096, .hidden = 1024, .observation = 17, .action = 6});
  return 0;
}
