// How a table chooses an item: to sample it, or to remove it.
//
// A selector knows items by slot: a small number, reused after removal, less than the table's capacity. It is one file
// in this directory, one line in registry.cc and one value of v1.Selector; conformance_test.cc runs over every one.
// Which items there are in which order is the table's to remember (arrivals.h): a selector keeps what it needs beyond
// that.
//
// Each item has a weight, a finite number that is not negative: its priority, already raised to the table's exponent.
// Most selectors do not look at it.
//
// Not thread-safe: the table's mutex guards it.
#ifndef HEADRACE_REPLAY_SELECTOR_SELECTOR_H_
#define HEADRACE_REPLAY_SELECTOR_SELECTOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/random.h"
#include "proto/replay.pb.h"
#include "replay/selector/arrivals.h"

namespace headrace {

class Selector {
 public:
  struct Draw {
    uint32_t slot;
    double probability;  // with which this slot was drawn
  };

  virtual ~Selector() = default;

  // The slot must not be present, and be the newest of the arrivals.
  virtual void Insert(uint32_t slot, float weight) = 0;
  // The slot must be present; its age stays.
  virtual void Update(uint32_t slot, float weight) {}
  // The slot must be present, and still be among the arrivals.
  virtual void Remove(uint32_t slot) = 0;
  // drawable() must not be 0.
  virtual Draw Select(RandomStream& random) = 0;
  // As so many calls of Select with nothing in between. Selectors that wait for memory wait for several at once.
  virtual void SelectMany(RandomStream& random, std::span<Draw> draws) {
    for (Draw& draw : draws) draw = Select(random);
  }
  // As so many calls of Select where none may give a slot again: each draw is of those that are left. What chance
  // decides has the probability of a first draw. drawable() must not be less. Afterwards all are there as before.
  virtual void SelectDistinct(RandomStream& random, std::span<Draw> draws) = 0;
  virtual size_t size() const = 0;
  // Those that can be selected: all but items of weight 0 where the weight decides.
  virtual size_t drawable() const { return size(); }
  // What a draw's probability is a share of: the sum of the weights where they decide, else the number of items.
  virtual double mass() const { return static_cast<double>(size()); }
};

struct SelectorFacts {
  v1::Selector selector;
  std::string name;
  std::string summary;
  uint64_t item_bytes;  // that it keeps of each item
  bool oldest_first;    // as a remover it takes items in the order in which they came
  // `arrivals` must outlive the selector; only those that go by age look at them.
  std::unique_ptr<Selector> (*make)(size_t capacity, const Arrivals* arrivals);
};

// The list of selectors.
const std::vector<SelectorFacts>& AllSelectors();
// Null: there is no such selector.
const SelectorFacts* FindSelector(v1::Selector selector);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_SELECTOR_H_
