// What benchmarks of an algorithm's updates have in common: updates a second, on the processor or a GPU, beside the
// limit that its fastest matrix product sets.
//
// Rounds of the updates and of the matrix products alternate, so that both see the same machine, and each figure is the
// best of its rounds: whatever else runs on the machine can only make one slower. The limit counts the multiplications
// and additions that an update's matrix products need, and nothing else, at the best rate that MKL or oneDNN, or cuBLAS
// in float32, reaches here on the product of the hidden layers.
//
// The flags --json, --device, --threads, --seconds and --rounds are defined here. Output: a table, or with --json one
// object a line: name, value, unit, reference, ratio = value / reference.
#ifndef HEADRACE_TOOLS_BENCH_UPDATE_RATE_H_
#define HEADRACE_TOOLS_BENCH_UPDATE_RATE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "algorithm/algorithm.h"
#include "algorithm/local_optimizer.h"

namespace headrace {

// Of a network in -> hidden -> hidden -> out, for one row: multiply-add pairs of its evaluation, and of what the
// derivatives by its parameters need besides: products by weights, and by the inputs of all layers but the first.
int64_t MultiplyAdds(int64_t in, int64_t hidden, int64_t out);
int64_t BackwardMultiplyAdds(int64_t in, int64_t hidden, int64_t out);

// Whether --device is one.
bool OnGpu();

// Updates on random batches that lie on --device already.
class UpdateLoop {
 public:
  // Ends the process where the configuration is refused.
  UpdateLoop(v1::RunConfig config, const v1::EnvironmentSpec& environment, std::vector<Batch> batches);
  void operator()();

 private:
  std::unique_ptr<Algorithm> algorithm_;
  std::unique_ptr<LocalOptimizer> optimizer_;
  std::vector<Batch> batches_;
  size_t next_ = 0;
};

struct UpdateCost {
  int64_t batch, hidden;     // of the hidden layers' product
  double multiply_adds = 0;  // of one update
  double updates_in_a_call = 1;
};

// Prints a figure "NAME/threadsN" for each number of threads, or one, "NAME/gpu".
void MeasureUpdates(const std::string& name, const UpdateCost& cost, const std::function<void()>& call);

}  // namespace headrace

#endif  // HEADRACE_TOOLS_BENCH_UPDATE_RATE_H_
