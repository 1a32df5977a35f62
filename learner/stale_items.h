// In synchronous rounds every item of a batch is of the newest policy. One that is not was begun before: by an actor
// that another has replaced since, or under a learner that was started again.
#ifndef HEADRACE_LEARNER_STALE_ITEMS_H_
#define HEADRACE_LEARNER_STALE_ITEMS_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"

namespace headrace {

// The items with a step that a policy older than `version` chose. versions: [batch, rows], int64, on the CPU; 0 where a
// row is no step.
std::vector<uint32_t> StaleItems(const at::Tensor& versions, uint64_t version);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_STALE_ITEMS_H_
