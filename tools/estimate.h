// What a run will take, in bytes: memory, disk and network, as far as its configuration tells.
#ifndef HEADRACE_TOOLS_ESTIMATE_H_
#define HEADRACE_TOOLS_ESTIMATE_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "proto/config.pb.h"
#include "proto/run.pb.h"

namespace headrace {

// Resident memory of a process that has nothing to do yet: measured, of its own, and of the libraries that all share.
inline constexpr uint64_t kReplayProcessBytes = 4 << 20;
inline constexpr uint64_t kTorchProcessBytes = 64 << 20;
inline constexpr uint64_t kSharedLibraryBytes = 80 << 20;
// Of the programs that a run keeps, so that a later build does not change what is started again. Measured.
inline constexpr uint64_t kProgramBytes = 8 << 20;

struct Estimate {
  // All shards together.
  struct Replay {
    uint64_t row_bytes = 0;
    uint64_t capacity = 0;        // items
    uint64_t capacity_bytes = 0;  // of so many items
    uint64_t fitting = 0;         // items that the budget has place for
    uint64_t memory_bytes = 0;
    uint64_t insert_bytes_per_step = 0;
    uint64_t sample_bytes_per_update = 0;
  };
  struct Learner {
    uint64_t algorithm_bytes = 0;
    uint64_t optimizer_bytes = 0;
    uint64_t prefetched_batch_bytes = 0;
    uint64_t memory_bytes = 0;
  };
  struct Actors {  // and evaluators
    uint64_t processes = 0;
    uint64_t memory_bytes_each = 0;
  };
  struct Network {
    uint64_t weights_bytes_per_version = 0;
    double weights_bytes_per_second_at_most = 0;  // 0: they leave with what actors ask, or without a limit
    uint64_t push_bytes_per_update = 0;           // with asynchronous gradients
  };
  struct Disk {
    uint64_t checkpoint_bytes = 0;
    uint64_t checkpoints_kept = 0;
    uint64_t journal_bytes = 0;
  };

  std::optional<Replay> replay;  // none with asynchronous gradients
  Learner learner;
  Actors actors;
  Network network;
  Disk disk;
  uint64_t memory_bytes = 0;
  uint64_t disk_bytes = 0;
};

// InvalidArgument: a signature or an algorithm that cannot be.
absl::StatusOr<Estimate> EstimateRun(const v1::RunConfig& config, const v1::EnvironmentSpec& environment,
                                     const Experience& experience);

}  // namespace headrace

#endif  // HEADRACE_TOOLS_ESTIMATE_H_
