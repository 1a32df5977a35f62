// What a sampler asks of each item, checked against the table that it asks.
#ifndef HEADRACE_REPLAY_SAMPLE_PLAN_H_
#define HEADRACE_REPLAY_SAMPLE_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/replay.pb.h"
#include "replay/payload.h"
#include "replay/table.h"

namespace headrace {

// Of one item, in a single message.
inline constexpr size_t kMaxItemBytes = 32 << 20;
inline constexpr int kMaxSlices = 1024;
// Of one batch: others wait while it is drawn.
inline constexpr uint32_t kMaxBatchSize = 1 << 16;

struct SamplePlan {
  std::vector<Slice> slices;
  uint32_t rows_needed = 0;  // of an item
  size_t item_bytes = 0;     // of all slices
};

// InvalidArgument: no slices, or too many, or rows or stacks that the table's items do not have. NotFound: a column
// that is not there.
absl::StatusOr<SamplePlan> PlanSample(const v1::SampleOpen& open, const Table& table);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SAMPLE_PLAN_H_
