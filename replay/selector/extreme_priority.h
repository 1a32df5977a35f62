// Selects an item of the lowest, or of the highest, weight: a binary heap that knows where each slot is.
#ifndef HEADRACE_REPLAY_SELECTOR_EXTREME_PRIORITY_H_
#define HEADRACE_REPLAY_SELECTOR_EXTREME_PRIORITY_H_

#include "replay/selector/selector.h"

namespace headrace {

std::unique_ptr<Selector> MakeMinimumPrioritySelector(size_t capacity, const Arrivals* arrivals);
std::unique_ptr<Selector> MakeMaximumPrioritySelector(size_t capacity, const Arrivals* arrivals);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_EXTREME_PRIORITY_H_
