// Updates of soft actor-critic a second, beside the limit that the processor's fastest matrix product sets.
//
//   sac_update [--json] [--threads=1,2] [--seconds=3] [--rounds=200]
//
// Rounds of our update and of the matrix products alternate, so that both see the same machine, and each figure is the
// best of its rounds: whatever else runs on the machine can only make one slower. The update is fed from a few resident
// random batches. The limit counts the multiplications and additions that the update's matrix products need, and
// nothing else, at the best rate that MKL or oneDNN reaches here on the product of the hidden layers.
//
// Output: a table, or with --json one object a line: name, value, unit, reference, ratio = value / reference.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/dispatch/Dispatcher.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/rand.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "algorithm/algorithm.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/registry.h"
#include "c10/core/InferenceMode.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(std::vector<std::string>, threads, std::vector<std::string>({"1", "2"}), "threads of LibTorch to measure at");
ABSL_FLAG(double, seconds, 3, "seconds for each figure");
ABSL_FLAG(int, rounds, 200, "rounds that are alternated; figures are the best of them");

namespace headrace {
namespace {

struct Sizes {
  int64_t batch, hidden, observation, action;
};

// Multiply-add pairs of one evaluation of a network in -> hidden -> hidden -> out, for one row.
int64_t MultiplyAdds(int64_t in, int64_t hidden, int64_t out) { return in * hidden + hidden * hidden + hidden * out; }

// Floating-point operations of the matrix products in one update: 2 for each multiply-add pair.
double UpdateOperations(const Sizes& sizes) {
  const int64_t q = 2 * MultiplyAdds(sizes.observation + sizes.action, sizes.hidden, 1);
  const int64_t q_first = 2 * (sizes.observation + sizes.action) * sizes.hidden;
  const int64_t pi = MultiplyAdds(sizes.observation, sizes.hidden, 2 * sizes.action);
  const int64_t pi_first = sizes.observation * sizes.hidden;
  const int64_t target = pi + q;                 // a' ~ pi(s'), Q'(s', a')
  const int64_t critic = q + q + (q - q_first);  // Q(s, a); by weights; by inputs but the network's own
  const int64_t actor_by_action = 2 * sizes.action * sizes.hidden + (q - q_first);
  const int64_t actor =
      pi + q + actor_by_action + pi + (pi - pi_first);  // pi(s), Q(s, a~), dQ/da, by pi's weights, inputs
  return 2.0 * static_cast<double>(sizes.batch * (target + critic + actor));
}

using Clock = std::chrono::steady_clock;

// Calls a second, over at least `seconds`.
double Rate(double seconds, const std::function<void()>& work) {
  int64_t calls = 0;
  const Clock::time_point start = Clock::now();
  double elapsed = 0;
  do {
    for (int i = 0; i < 4; ++i) work();
    calls += 4;
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  } while (elapsed < seconds);
  return static_cast<double>(calls) / elapsed;
}

// Updates on resident random batches.
class UpdateLoop {
 public:
  explicit UpdateLoop(const Sizes& sizes) {
    v1::RunConfig config;
    config.mutable_sac()->add_hidden(static_cast<uint32_t>(sizes.hidden));
    config.mutable_sac()->add_hidden(static_cast<uint32_t>(sizes.hidden));
    config.mutable_sac()->set_batch_size(static_cast<uint32_t>(sizes.batch));
    v1::EnvironmentSpec environment;
    environment.mutable_observation()->set_data_type(v1::FLOAT32);
    environment.mutable_observation()->add_shape(static_cast<uint32_t>(sizes.observation));
    environment.mutable_action()->set_data_type(v1::FLOAT32);
    environment.mutable_action()->add_shape(static_cast<uint32_t>(sizes.action));
    absl::StatusOr<std::unique_ptr<Algorithm>> algorithm = MakeAlgorithm(config, environment);
    if (!algorithm.ok()) {
      std::cerr << algorithm.status() << "\n";
      std::exit(1);
    }
    algorithm_ = *std::move(algorithm);
    optimizer_ = std::make_unique<LocalOptimizer>(algorithm_->ParameterGroups());
    for (int i = 0; i < 8; ++i) {
      batches_.push_back(
          {{at::randn({sizes.batch, 2, sizes.observation}), at::rand({sizes.batch, 1, sizes.action}).mul_(2).sub_(1),
            at::randn({sizes.batch, 1}), at::randint(100, {sizes.batch, 1}).eq(0).to(at::kByte),
            at::randint(100, {sizes.batch, 1}, at::kLong)}});
    }
  }

  void operator()() { algorithm_->Update(batches_[next_++ % batches_.size()], *optimizer_); }

 private:
  std::unique_ptr<Algorithm> algorithm_;
  std::unique_ptr<LocalOptimizer> optimizer_;
  std::vector<Batch> batches_;
  size_t next_ = 0;
};

// The best of MKL and oneDNN on the hidden layers' product, for two networks, in operations a second.
class MatrixProducts {
 public:
  explicit MatrixProducts(const Sizes& sizes)
      : operations_(4.0 * static_cast<double>(sizes.batch * sizes.hidden * sizes.hidden)),
        x_(at::randn({2, sizes.batch, sizes.hidden})),
        weight_(at::randn({2, sizes.hidden, sizes.hidden})),
        y_(at::empty_like(x_)),
        onednn_(c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "")) {
    for (int i = 0; i < 2; ++i) {
      xs_.push_back(x_[i]);
      weights_.push_back(weight_[i]);
      ys_.push_back(y_[i]);
    }
  }

  double BestRate(double seconds) {
    const c10::InferenceMode no_autograd;
    const double batched = Rate(seconds / 3, [&] { at::bmm_out(y_, x_, weight_); });
    const double single = Rate(seconds / 3, [&] {
      for (int i = 0; i < 2; ++i) at::mm_out(ys_[i], xs_[i], weights_[i]);
    });
    const double onednn = Rate(seconds / 3, [&] {
      for (int i = 0; i < 2; ++i) {
        std::vector<c10::IValue> stack = {
            xs_[i], weights_[i], c10::IValue(), "none", c10::List<std::optional<at::Scalar>>(), ""};
        onednn_.callBoxed(stack);
      }
    });
    return operations_ * std::max({batched, single, onednn});
  }

 private:
  const double operations_;
  at::Tensor x_, weight_, y_;
  std::vector<at::Tensor> xs_, weights_, ys_;
  c10::OperatorHandle onednn_;
};

void Print(const std::string& name, double value, const char* unit, double reference) {
  if (absl::GetFlag(FLAGS_json)) {
    std::printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"reference\": %.6g, \"ratio\": %.4g}\n",
                name.c_str(), value, unit, reference, value / reference);
  } else {
    std::printf("%-48s %10.1f %-10s limit %10.1f  ratio %5.2f\n", name.c_str(), value, unit, reference,
                value / reference);
  }
  std::fflush(stdout);
}

void Measure(const Sizes& sizes, int threads) {
  at::set_num_threads(threads);
  UpdateLoop update(sizes);
  MatrixProducts products(sizes);
  const int rounds = absl::GetFlag(FLAGS_rounds);
  const double seconds = absl::GetFlag(FLAGS_seconds) / rounds;
  Rate(0.1, [&] { update(); });
  products.BestRate(0.1);
  double updates = 0, operations = 0;
  for (int i = 0; i < rounds; ++i) {
    updates = std::max(updates, Rate(seconds, [&] { update(); }));
    operations = std::max(operations, products.BestRate(seconds));
  }
  const std::string name = "sac_update/batch" + std::to_string(sizes.batch) + "_hidden" + std::to_string(sizes.hidden) +
                           "/threads" + std::to_string(threads);
  Print(name, updates, "updates/s", operations / UpdateOperations(sizes));
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Updates of soft actor-critic a second, beside the limit of matrix products.");
  absl::ParseCommandLine(argc, argv);
  for (const std::string& threads : absl::GetFlag(FLAGS_threads)) {
    headrace::Measure({.batch = 256, .hidden = 256, .observation = 17, .action = 6}, std::stoi(threads));
    headrace::Measure({.batch = 64, .hidden = 64, .observation = 3, .action = 1}, std::stoi(threads));
  }
  return 0;
}
