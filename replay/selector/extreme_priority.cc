#include "replay/selector/extreme_priority.h"

#include <vector>

namespace headrace {
namespace {

// Invariants: heap_[position_[s]].slot == s for every slot s that is present, and no entry's key is below its parent's.
class ExtremePrioritySelector final : public Selector {
 public:
  ExtremePrioritySelector(size_t capacity, float sign) : sign_(sign) {
    heap_.reserve(capacity);
    position_.reserve(capacity);
  }

  void Insert(uint32_t slot, float weight) override {
    if (slot >= position_.size()) position_.resize(slot + 1);
    heap_.push_back({});
    Rise(heap_.size() - 1, {sign_ * weight, slot});
  }

  void Update(uint32_t slot, float weight) override { Settle(position_[slot], {sign_ * weight, slot}); }

  void Remove(uint32_t slot) override {
    const size_t gap = position_[slot];
    const Entry last = heap_.back();
    heap_.pop_back();
    if (gap < heap_.size()) Settle(gap, last);
  }

  Draw Select(RandomStream&) override { return {heap_.front().slot, 1.0}; }

  void SelectDistinct(RandomStream& random, std::span<Draw> draws) override {
    std::vector<Entry> taken;
    for (Draw& draw : draws) {
      draw = Select(random);
      taken.push_back(heap_.front());
      Remove(draw.slot);
    }
    for (const Entry& entry : taken) {
      heap_.push_back({});
      Rise(heap_.size() - 1, entry);
    }
  }

  size_t size() const override { return heap_.size(); }

 private:
  struct Entry {
    float key;  // the weight, negated where the highest comes first
    uint32_t slot;
  };

  void Put(size_t position, Entry entry) {
    heap_[position] = entry;
    position_[entry.slot] = static_cast<uint32_t>(position);
  }

  // Finds the place of an entry that belongs at or above `position`, where there is a gap.
  void Rise(size_t position, Entry entry) {
    while (position > 0 && entry.key < heap_[(position - 1) / 2].key) {
      Put(position, heap_[(position - 1) / 2]);
      position = (position - 1) / 2;
    }
    Put(position, entry);
  }

  // The same for an entry that may belong above or below.
  void Settle(size_t position, Entry entry) {
    while (true) {
      size_t child = 2 * position + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && heap_[child + 1].key < heap_[child].key) ++child;
      if (!(heap_[child].key < entry.key)) break;
      Put(position, heap_[child]);
      position = child;
    }
    Rise(position, entry);
  }

  const float sign_;
  std::vector<Entry> heap_;
  std::vector<uint32_t> position_;  // of a slot in heap_
};

}  // namespace

std::unique_ptr<Selector> MakeMinimumPrioritySelector(size_t capacity, const Arrivals*) {
  return std::make_unique<ExtremePrioritySelector>(capacity, 1.0f);
}

std::unique_ptr<Selector> MakeMaximumPrioritySelector(size_t capacity, const Arrivals*) {
  return std::make_unique<ExtremePrioritySelector>(capacity, -1.0f);
}

}  // namespace headrace
