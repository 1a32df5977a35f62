#include "replay/selector/first_in_first_out.h"

#include <vector>

namespace headrace {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

class FirstInFirstOutSelector final : public Selector {
 public:
  explicit FirstInFirstOutSelector(size_t capacity) { links_.reserve(capacity); }

  void Insert(uint32_t slot) override {
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

  Draw Select(RandomStream&) override { return {oldest_, 1.0}; }

  size_t size() const override { return size_; }

 private:
  struct Link {
    uint32_t older;
    uint32_t newer;
  };
  std::vector<Link> links_;
  uint32_t oldest_ = kNone;
  uint32_t newest_ = kNone;
  size_t size_ = 0;
};

}  // namespace

std::unique_ptr<Selector> MakeFirstInFirstOutSelector(size_t capacity) {
  return std::make_unique<FirstInFirstOutSelector>(capacity);
}

}  // namespace headrace
