#include "replay/selector/first_in_first_out.h"
#include "replay/selector/selector.h"
#include "replay/selector/uniform.h"

namespace headrace {

const std::vector<SelectorFacts>& AllSelectors() {
  static const auto* const selectors = new std::vector<SelectorFacts>{
      {v1::UNIFORM, "uniform", "every item with the same probability", MakeUniformSelector},
      {v1::FIRST_IN_FIRST_OUT, "first_in_first_out", "the oldest item", MakeFirstInFirstOutSelector},
  };
  return *selectors;
}

std::unique_ptr<Selector> MakeSelector(v1::Selector selector, size_t capacity) {
  for (const SelectorFacts& facts : AllSelectors()) {
    if (facts.selector == selector) return facts.make(capacity);
  }
  return nullptr;
}

}  // namespace headrace
