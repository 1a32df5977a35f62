// Selects each item in proportion to its weight (Schaul et al., "Prioritized Experience Replay", arXiv:1511.05952,
// section 3.3, "proportional prioritization").
#ifndef HEADRACE_REPLAY_SELECTOR_PROPORTIONAL_H_
#define HEADRACE_REPLAY_SELECTOR_PROPORTIONAL_H_

#include "replay/selector/selector.h"

namespace headrace {

std::unique_ptr<Selector> MakeProportionalSelector(size_t capacity, const Arrivals* arrivals);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_PROPORTIONAL_H_
