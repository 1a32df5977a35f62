// Selects by age alone.
#ifndef HEADRACE_REPLAY_SELECTOR_ARRIVAL_ORDER_H_
#define HEADRACE_REPLAY_SELECTOR_ARRIVAL_ORDER_H_

#include "replay/selector/selector.h"

namespace headrace {

std::unique_ptr<Selector> MakeFirstInFirstOutSelector(size_t capacity, const Arrivals* arrivals);
std::unique_ptr<Selector> MakeLastInFirstOutSelector(size_t capacity, const Arrivals* arrivals);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_ARRIVAL_ORDER_H_
