#include "replay/selector/arrival_order.h"

namespace headrace {
namespace {

// At one end of the list that the table has anyway.
class ArrivalOrderSelector final : public Selector {
 public:
  ArrivalOrderSelector(const Arrivals* arrivals, bool newest_first)
      : arrivals_(arrivals), newest_first_(newest_first) {}

  void Insert(uint32_t, float) override {}
  void Remove(uint32_t) override {}

  Draw Select(RandomStream&) override { return {First(), 1.0}; }

  void SelectDistinct(RandomStream&, std::span<Draw> draws) override {
    uint32_t slot = First();
    for (Draw& draw : draws) {
      draw = {slot, 1.0};
      slot = newest_first_ ? arrivals_->older(slot) : arrivals_->newer(slot);
    }
  }

  size_t size() const override { return arrivals_->size(); }

 private:
  uint32_t First() const { return newest_first_ ? arrivals_->newest() : arrivals_->oldest(); }

  const Arrivals* const arrivals_;
  const bool newest_first_;
};

}  // namespace

std::unique_ptr<Selector> MakeFirstInFirstOutSelector(size_t, const Arrivals* arrivals) {
  return std::make_unique<ArrivalOrderSelector>(arrivals, /*newest_first=*/false);
}

std::unique_ptr<Selector> MakeLastInFirstOutSelector(size_t, const Arrivals* arrivals) {
  return std::make_unique<ArrivalOrderSelector>(arrivals, /*newest_first=*/true);
}

}  // namespace headrace
