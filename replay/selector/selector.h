// How a table chooses an item: to sample it, or to remove it.
//
// A selector knows items by slot: a small number, reused after removal, less than the table's capacity. It is one file
// in this directory, one line in registry.cc and one value of v1.Selector; conformance_test.cc runs over every one.
//
// Not thread-safe: the table's mutex guards it.
#ifndef HEADRACE_REPLAY_SELECTOR_SELECTOR_H_
#define HEADRACE_REPLAY_SELECTOR_SELECTOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "proto/replay.pb.h"

namespace headrace {

class Selector {
 public:
  struct Draw {
    uint32_t slot;
    double probability;  // with which this slot was drawn
  };

  virtual ~Selector() = default;

  // The slot must not be present; it counts as the newest.
  virtual void Insert(uint32_t slot) = 0;
  // The slot must be present.
  virtual void Remove(uint32_t slot) = 0;
  // size() must not be 0.
  virtual Draw Select(RandomStream& random) = 0;
  virtual size_t size() const = 0;
  // Sum of the priorities; the number of items for selectors without priorities.
  virtual double mass() const { return static_cast<double>(size()); }
};

struct SelectorFacts {
  v1::Selector selector;
  std::string name;
  std::string summary;
  std::unique_ptr<Selector> (*make)(size_t capacity);
};

// The list of selectors.
const std::vector<SelectorFacts>& AllSelectors();
// Null: there is no such selector.
std::unique_ptr<Selector> MakeSelector(v1::Selector selector, size_t capacity);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_SELECTOR_H_
