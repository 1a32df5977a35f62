// The items of a table, with the selectors that sample and remove them. An item is `rows` consecutive rows of one lane;
// it is known by a slot, which is reused, and outside the shard by a key, which is not, or not soon: slot and
// generation.
//
// Not thread-safe: the table's mutex guards it.
#ifndef HEADRACE_REPLAY_ITEM_STORE_H_
#define HEADRACE_REPLAY_ITEM_STORE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/huge_pages.h"
#include "common/random.h"
#include "proto/replay.pb.h"
#include "replay/row_store.h"
#include "replay/selector/selector.h"

namespace headrace {

struct Item {
  RowStore::Address first_row = RowStore::kNoRow;  // of the context, if there is any
  uint32_t generation : 24 = 0;
  uint32_t context : 8 = 0;  // rows of the same episode before its own
  uint16_t rows = 0;         // 0: the slot is empty
  uint16_t times_sampled = 0;
  float priority = 1;

  uint32_t rows_held() const { return context + rows; }
};
static_assert(sizeof(Item) == 16);

// Whether it is finite and not negative.
bool IsPriority(float priority);

class ItemStore {
 public:
  struct Drawn {
    uint64_t key;
    RowStore::Address first_row;  // see Item
    uint16_t rows;
    double probability;
    uint32_t context = 0;
  };
  static constexpr uint32_t kMaxContext = UINT8_MAX;
  static constexpr uint32_t kMaxRows = UINT16_MAX;
  static constexpr uint32_t kMaxTimesSampled = UINT16_MAX;
  // What the books of one item take: its slot, its place among the arrivals, and those in the selectors, which must
  // exist.
  static uint64_t BookBytes(v1::Selector sampler, v1::Selector remover);

  // `rows` must outlive this.
  ItemStore(const v1::TableSpec& spec, size_t capacity, RowStore* rows);

  // size() must be below the capacity. The generation is the store's to choose. By value: an item fits into registers,
  // and one that is written field by field is slow to be read whole.
  void Add(Item item);
  // Of the item with this key, if it is still there; whether it is.
  bool SetPriority(uint64_t key, float priority);
  // What an item gets whose writer gives it no priority: the highest that any item has had, at first 1.
  float max_priority() const { return max_priority_; }
  void set_max_priority(float priority) { max_priority_ = priority; }
  // The one the remover chooses, or the oldest if none of them can be drawn. size() must not be 0.
  void RemoveOne(RandomStream& random);
  // Draws items and counts them; one that has been sampled as often as it may is removed. drawable() must not be 0, and
  // not less than what is drawn if items are removed, or none may come twice (`distinct`).
  void Sample(RandomStream& random, bool distinct, std::span<Drawn> drawn);

  // No item has fewer rows, of those that are here; those that are gone may have had. At most kMaxRows.
  uint32_t least_rows() const { return least_rows_; }

  size_t size() const { return arrivals_.size(); }
  // Items that Sample may choose.
  size_t drawable() const { return sampler_->drawable(); }
  size_t capacity() const { return capacity_; }
  double mass() const { return sampler_->mass(); }
  uint64_t removed() const { return removed_; }
  // Of the item that has been here longest; kNoRow: there is none.
  RowStore::Address oldest_row() const { return size() == 0 ? RowStore::kNoRow : slots_[arrivals_.oldest()].first_row; }
  void set_removed(uint64_t removed) { removed_ = removed; }

  // The books as they are when BeginCopy is called, although the store goes on: what changes is copied first, the rest
  // by CopySome, a little at a time.
  class Copy {
   public:
    // So that BeginCopy need not: memory for what a store has by now, and address space for all that it may have then.
    void Reserve(size_t slots, size_t capacity);

    // All items, oldest first. The copy must be complete.
    class Iterator {
     public:
      const Item& operator*() const { return copy_->slots_[slot_]; }
      Iterator& operator++() {
        slot_ = copy_->links_[slot_].newer;
        return *this;
      }
      bool operator==(const Iterator& other) const { return slot_ == other.slot_; }

     private:
      friend class Copy;
      Iterator(const Copy* copy, uint32_t slot) : copy_(copy), slot_(slot) {}
      const Copy* copy_;
      uint32_t slot_;
    };
    Iterator begin() const { return {this, oldest_}; }
    Iterator end() const { return {this, Arrivals::kNone}; }
    size_t size() const { return size_; }

   private:
    friend class ItemStore;
    std::vector<Item, HugePageAllocator<Item>> slots_;
    std::vector<Arrivals::Link, HugePageAllocator<Arrivals::Link>> links_;
    std::vector<bool> pages_;  // that have been copied
    size_t next_page_ = 0;     // all before it have been
    uint32_t oldest_ = Arrivals::kNone;
    size_t size_ = 0;
  };
  size_t slots() const { return slots_.size(); }
  // One at a time; it must stay until it is complete.
  void BeginCopy(Copy& copy);
  // Whether there is more to be copied.
  bool CopySome();

 private:
  void SampleDistinct(RandomStream& random, std::span<Drawn> drawn);
  void Remove(uint32_t slot);
  Drawn Count(const Selector::Draw& draw);
  float Weight(float priority) const;
  // Before a slot changes, or its place among the arrivals.
  void Keep(uint32_t slot) {
    if (copy_ != nullptr && slot < copy_->slots_.size()) [[unlikely]]
      CopyPage(slot / kPage);
  }
  void CopyPage(size_t page);

  // Slots that are copied at once: few, because a batch may be drawn from as many pages as it has items.
  static constexpr size_t kPage = 256;

  const uint32_t max_times_sampled_;
  const double priority_exponent_;
  const size_t capacity_;
  RowStore* const rows_;
  Arrivals arrivals_;
  const std::unique_ptr<Selector> sampler_;
  const std::unique_ptr<Selector> remover_;
  const bool remover_may_find_none_;  // of those that there are: items of weight 0 cannot be drawn
  std::vector<Item, HugePageAllocator<Item>> slots_;
  std::vector<uint32_t> free_;
  Copy* copy_ = nullptr;  // null: none, or it is complete
  float max_priority_ = 1;
  uint32_t least_rows_ = kMaxRows;
  uint64_t removed_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_ITEM_STORE_H_
