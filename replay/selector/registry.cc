#include "replay/selector/arrival_order.h"
#include "replay/selector/extreme_priority.h"
#include "replay/selector/proportional.h"
#include "replay/selector/selector.h"
#include "replay/selector/uniform.h"

namespace headrace {

const std::vector<SelectorFacts>& AllSelectors() {
  static const auto* const selectors = new std::vector<SelectorFacts>{
      {v1::UNIFORM, "uniform", "every item with the same probability", 8, false, MakeUniformSelector},
      {v1::FIRST_IN_FIRST_OUT, "first_in_first_out", "the oldest item", 0, true, MakeFirstInFirstOutSelector},
      {v1::LAST_IN_FIRST_OUT, "last_in_first_out", "the newest item", 0, false, MakeLastInFirstOutSelector},
      {v1::PROPORTIONAL, "proportional", "each item in proportion to its priority to the table's exponent", 6, false,
       MakeProportionalSelector},
      {v1::MINIMUM_PRIORITY, "minimum_priority", "an item of the lowest priority", 12, false,
       MakeMinimumPrioritySelector},
      {v1::MAXIMUM_PRIORITY, "maximum_priority", "an item of the highest priority", 12, false,
       MakeMaximumPrioritySelector},
  };
  return *selectors;
}

const SelectorFacts* FindSelector(v1::Selector selector) {
  for (const SelectorFacts& facts : AllSelectors()) {
    if (facts.selector == selector) return &facts;
  }
  return nullptr;
}

}  // namespace headrace
