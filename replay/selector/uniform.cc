#include "replay/selector/uniform.h"

#include <utility>
#include <vector>

#include "common/huge_pages.h"

namespace headrace {
namespace {

// Invariant: slots_[position_[s]] == s for every slot s that is present.
class UniformSelector final : public Selector {
 public:
  explicit UniformSelector(size_t capacity) {
    slots_.reserve(capacity);
    position_.reserve(capacity);
  }

  void Insert(uint32_t slot, float) override {
    if (slot >= position_.size()) position_.resize(slot + 1);
    position_[slot] = static_cast<uint32_t>(slots_.size());
    slots_.push_back(slot);
  }

  void Remove(uint32_t slot) override {
    const uint32_t position = position_[slot];
    const uint32_t last = slots_.back();
    slots_[position] = last;
    position_[last] = position;
    slots_.pop_back();
  }

  Draw Select(RandomStream& random) override {
    return {slots_[random.Below(slots_.size())], 1.0 / static_cast<double>(slots_.size())};
  }

  void SelectMany(RandomStream& random, std::span<Draw> draws) override {
    for (Draw& draw : draws) {
      draw.slot = static_cast<uint32_t>(random.Below(slots_.size()));  // its position, at first
      __builtin_prefetch(&slots_[draw.slot]);
    }
    const double probability = 1.0 / static_cast<double>(slots_.size());
    for (Draw& draw : draws) draw = {slots_[draw.slot], probability};
  }

  void SelectDistinct(RandomStream& random, std::span<Draw> draws) override {
    // Fisher and Yates' shuffle: what was drawn goes to the end, and back when all are drawn.
    size_t left = slots_.size();
    const double probability = 1.0 / static_cast<double>(left);
    for (Draw& draw : draws) {
      draw.slot = static_cast<uint32_t>(random.Below(left--));  // its position, at first
      __builtin_prefetch(&slots_[draw.slot]);
    }
    left = slots_.size();
    for (const Draw& draw : draws) std::swap(slots_[draw.slot], slots_[--left]);
    for (size_t i = draws.size(); i > 0; --i, ++left) {
      const uint32_t position = draws[i - 1].slot;
      draws[i - 1] = {slots_[left], probability};
      std::swap(slots_[position], slots_[left]);
    }
  }

  size_t size() const override { return slots_.size(); }

 private:
  std::vector<uint32_t, HugePageAllocator<uint32_t>> slots_;
  std::vector<uint32_t> position_;  // of a slot in slots_
};

}  // namespace

std::unique_ptr<Selector> MakeUniformSelector(size_t capacity, const Arrivals*) {
  return std::make_unique<UniformSelector>(capacity);
}

}  // namespace headrace
