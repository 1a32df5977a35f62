// The oldest item, always: a linked list threaded through an array.
#ifndef HEADRACE_REPLAY_SELECTOR_FIRST_IN_FIRST_OUT_H_
#define HEADRACE_REPLAY_SELECTOR_FIRST_IN_FIRST_OUT_H_

#include <memory>

#include "replay/selector/selector.h"

namespace headrace {

std::unique_ptr<Selector> MakeFirstInFirstOutSelector(size_t capacity);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_FIRST_IN_FIRST_OUT_H_
