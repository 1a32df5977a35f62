#include "tools/bench/update_rate.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/core/dispatch/Dispatcher.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/randn.h"
#include "absl/flags/flag.h"
#include "algorithm/registry.h"
#include "c10/core/InferenceMode.h"
#include "c10/core/impl/VirtualGuardImpl.h"
#include "model/device.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(std::string, device, "cpu", "where updates are computed: cpu, cuda or cuda:N");
ABSL_FLAG(std::vector<std::string>, threads, std::vector<std::string>({"1", "2"}), "threads of LibTorch to measure at");
ABSL_FLAG(double, seconds, 3, "seconds for each figure");
ABSL_FLAG(int, rounds, 200, "rounds that are alternated; figures are the best of them");

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

// Ends the process where there is no such device.
c10::Device BenchDevice() {
  const absl::StatusOr<c10::Device> device = ParseDevice(absl::GetFlag(FLAGS_device));
  if (device.ok()) return *device;
  std::cerr << device.status() << "\n";
  std::exit(1);
}

// Calls a second, over at least `seconds`; on a GPU until it has done them.
double Rate(double seconds, const std::function<void()>& work) {
  const c10::Device device = BenchDevice();
  int64_t calls = 0;
  const Clock::time_point start = Clock::now();
  double elapsed = 0;
  do {
    work();
    ++calls;
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  } while (elapsed < seconds);
  if (!device.is_cpu()) {
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return static_cast<double>(calls) / elapsed;
}

// The best of the libraries (MKL and oneDNN, or cuBLAS) on the hidden layers' product, for two networks, in operations
// a second.
class MatrixProducts {
 public:
  MatrixProducts(int64_t batch, int64_t hidden)
      : operations_(4.0 * static_cast<double>(batch * hidden * hidden)),
        x_(at::randn({2, batch, hidden}, BenchDevice())),
        weight_(at::randn({2, hidden, hidden}, BenchDevice())),
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
    if (!x_.is_cpu()) return operations_ * std::max(batched, single);
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

}  // namespace

int64_t MultiplyAdds(int64_t in, int64_t hidden, int64_t out) { return in * hidden + hidden * hidden + hidden * out; }

int64_t BackwardMultiplyAdds(int64_t in, int64_t hidden, int64_t out) {
  return 2 * MultiplyAdds(in, hidden, out) - in * hidden;
}

bool OnGpu() { return !BenchDevice().is_cpu(); }

UpdateLoop::UpdateLoop(v1::RunConfig config, const v1::EnvironmentSpec& environment, std::vector<Batch> batches)
    : batches_(std::move(batches)) {
  config.set_device(absl::GetFlag(FLAGS_device));
  for (Batch& batch : batches_) {
    for (at::Tensor& slice : batch.slices) slice = slice.to(BenchDevice());
  }
  absl::StatusOr<std::unique_ptr<Algorithm>> algorithm = MakeAlgorithm(config, environment);
  if (!algorithm.ok()) {
    std::cerr << algorithm.status() << "\n";
    std::exit(1);
  }
  algorithm_ = *std::move(algorithm);
  optimizer_ = std::make_unique<LocalOptimizer>(algorithm_->ParameterGroups());
}

void UpdateLoop::operator()() { algorithm_->Update(batches_[next_++ % batches_.size()], *optimizer_); }

void MeasureUpdates(const std::string& name, const UpdateCost& cost, const std::function<void()>& call) {
  const int rounds = absl::GetFlag(FLAGS_rounds);
  const double seconds = absl::GetFlag(FLAGS_seconds) / rounds;
  const std::vector<std::string> all_threads = OnGpu() ? std::vector<std::string>({"1"}) : absl::GetFlag(FLAGS_threads);
  for (const std::string& threads : all_threads) {
    at::set_num_threads(std::stoi(threads));
    MatrixProducts products(cost.batch, cost.hidden);
    Rate(0.1, call);
    products.BestRate(0.1);
    double updates = 0, operations = 0;
    for (int i = 0; i < rounds; ++i) {
      updates = std::max(updates, Rate(seconds, call) * cost.updates_in_a_call);
      operations = std::max(operations, products.BestRate(seconds));
    }
    Print(name + (OnGpu() ? "/gpu" : "/threads" + threads), updates, "updates/s",
          operations / (2 * cost.multiply_adds));
  }
}

}  // namespace headrace
