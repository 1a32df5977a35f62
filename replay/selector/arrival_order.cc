#include "replay/selector/arrival_order.h"

#include <vector>

namespace headrace {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

// Items as a list, linked through their slots; selects at one of its ends.
class ArrivalOrderSelector final : public Selector {
 public:
  ArrivalOrderSelector(size_t capacity, bool newest_first) : newest_first_(newest_first) { links_.reserve(capacity); }

  void Insert(uint32_t slot, float) override {
    if (slot >= links_.size()) links_.resize(slot + 1);
    links_[slot] = {newest_, kNone};
    (newest_ == kNone ? oldest_ : links_[newest_].newer) = slot;
    newest_ = slot;
    ++size_;
  }

  void Remove(uint32_t slot) override {
    const Link link = links_[slot];
    (link.older == kNone ? oldest_ : links_[link.older].newer) = link.newer;
    (link.newer == kNone ? newest_ : links_[link.newer].older) = link.older;
    --size_;
  }

  Draw Select(RandomStream&) override { return {newest_first_ ? newest_ : oldest_, 1.0}; }

  void SelectDistinct(RandomStream&, std::span<Draw> draws) override {
    uint32_t slot = newest_first_ ? newest_ : oldest_;
    for (Draw& draw : draws) {
      draw = {slot, 1.0};
      slot = newest_first_ ? links_[slot].older : links_[slot].newer;
    }
  }

  size_t size() const override { return size_; }

 private:
  struct Link {
    uint32_t older;
    uint32_t newer;
  };
  const bool newest_first_;
  std::vector<Link> links_;
  uint32_t oldest_ = kNone;
  uint32_t newest_ = kNone;
  size_t size_ = 0;
};

}  // namespace

std::unique_ptr<Selector> MakeFirstInFirstOutSelector(size_t capacity) {
  return std::make_unique<ArrivalOrderSelector>(capacity, /*newest_first=*/false);
}

std::unique_ptr<Selector> MakeLastInFirstOutSelector(size_t capacity) {
  return std::make_unique<ArrivalOrderSelector>(capacity, /*newest_first=*/true);
}

}  // namespace headrace
