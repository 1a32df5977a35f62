// Every item with the same probability: a dense array of slots, from which the last moves into a removed one's place.
#ifndef HEADRACE_REPLAY_SELECTOR_UNIFORM_H_
#define HEADRACE_REPLAY_SELECTOR_UNIFORM_H_

#include <memory>

#include "replay/selector/selector.h"

namespace headrace {

std::unique_ptr<Selector> MakeUniformSelector(size_t capacity, const Arrivals* arrivals);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_UNIFORM_H_
