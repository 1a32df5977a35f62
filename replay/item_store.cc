#include "replay/item_store.h"

#include <algorithm>

#include "common/check.h"

namespace headrace {

ItemStore::ItemStore(const v1::TableSpec& spec, size_t capacity, RowStore* rows)
    : max_times_sampled_(spec.max_times_sampled()),
      capacity_(capacity),
      rows_(rows),
      sampler_(MakeSelector(spec.sampler(), capacity)),
      remover_(MakeSelector(spec.remover(), capacity)) {
  HEADRACE_CHECK(sampler_ != nullptr && remover_ != nullptr);
  slots_.reserve(capacity);
  order_.reserve(capacity);
}

void ItemStore::Add(RowStore::Address first_row, uint16_t rows, uint16_t times_sampled) {
  HEADRACE_CHECK(size() < capacity_);
  uint32_t slot;
  if (free_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
    order_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Item& item = slots_[slot];
  item.first_row = first_row;
  item.rows = rows;
  item.times_sampled = times_sampled;
  ++item.generation;
  order_[slot] = next_order_++;
  for (RowStore::Address row = first_row; rows > 0; --rows, row = rows_->Next(row)) rows_->Reference(row);
  sampler_->Insert(slot);
  remover_->Insert(slot);
}

void ItemStore::RemoveOne(RandomStream& random) { Remove(remover_->Select(random).slot); }

void ItemStore::Remove(uint32_t slot) {
  sampler_->Remove(slot);
  remover_->Remove(slot);
  Item& item = slots_[slot];
  RowStore::Address row = item.first_row;
  for (uint16_t left = item.rows; left > 0; --left) {
    // The link is read first: releasing the last reference gives the row away.
    const RowStore::Address next = left > 1 ? rows_->Next(row) : RowStore::kNoRow;
    rows_->Release(row);
    row = next;
  }
  item.rows = 0;
  free_.push_back(slot);
  ++removed_;
}

ItemStore::Drawn ItemStore::Sample(RandomStream& random) {
  const Selector::Draw draw = sampler_->Select(random);
  Item& item = slots_[draw.slot];
  const Drawn drawn = {static_cast<uint64_t>(item.generation) << 32 | draw.slot, item.first_row, item.rows,
                       draw.probability};
  if (item.times_sampled < kMaxTimesSampled) ++item.times_sampled;
  if (max_times_sampled_ > 0 && item.times_sampled >= max_times_sampled_) Remove(draw.slot);
  return drawn;
}

std::vector<Item> ItemStore::Items() const {
  std::vector<uint32_t> present;
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].rows > 0) present.push_back(slot);
  }
  std::sort(present.begin(), present.end(), [&](uint32_t a, uint32_t b) { return order_[a] < order_[b]; });
  std::vector<Item> items;
  items.reserve(present.size());
  for (const uint32_t slot : present) items.push_back(slots_[slot]);
  return items;
}

}  // namespace headrace
