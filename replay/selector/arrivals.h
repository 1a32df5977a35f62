// The items of a table in the order in which they came: a list that is linked through their slots. The selectors that
// go by age look at it rather than have one of their own.
//
// Not thread-safe: the table's mutex guards it.
#ifndef HEADRACE_REPLAY_SELECTOR_ARRIVALS_H_
#define HEADRACE_REPLAY_SELECTOR_ARRIVALS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headrace {

class Arrivals {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Link {
    uint32_t older;
    uint32_t newer;
  };

  explicit Arrivals(size_t capacity) { links_.reserve(capacity); }

  // The slot must not be present; it is the newest.
  void Add(uint32_t slot) {
    if (slot >= links_.size()) links_.resize(slot + 1);
    links_[slot] = {newest_, kNone};
    (newest_ == kNone ? oldest_ : links_[newest_].newer) = slot;
    newest_ = slot;
    ++size_;
  }
  // The slot must be present.
  void Remove(uint32_t slot) {
    const Link link = links_[slot];
    (link.older == kNone ? oldest_ : links_[link.older].newer) = link.newer;
    (link.newer == kNone ? newest_ : links_[link.newer].older) = link.older;
    --size_;
  }

  size_t size() const { return size_; }
  // kNone: there is none.
  uint32_t oldest() const { return oldest_; }
  uint32_t newest() const { return newest_; }
  uint32_t older(uint32_t slot) const { return links_[slot].older; }
  uint32_t newer(uint32_t slot) const { return links_[slot].newer; }
  // Of every slot that there ever was.
  const std::vector<Link>& links() const { return links_; }

 private:
  std::vector<Link> links_;
  uint32_t oldest_ = kNone;
  uint32_t newest_ = kNone;
  size_t size_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SELECTOR_ARRIVALS_H_
