#include "replay/row_store.h"

#include <algorithm>
#include <bit>

namespace headrace {
namespace {

constexpr size_t kSlabBytes = 1 << 20;
// A small budget is cut into enough slabs that removing old items frees some. A power of two: a row's slab is then
// found by a shift.
size_t RowsPerSlab(size_t stride, uint64_t max_bytes) {
  const size_t bytes = std::min<uint64_t>(kSlabBytes, max_bytes / 16);
  return std::bit_floor(std::max<size_t>(1, bytes / stride));
}

size_t Slabs(size_t slab_bytes, size_t rows_per_slab, uint64_t max_bytes) {
  return std::clamp<uint64_t>(max_bytes / slab_bytes, 3, RowStore::kNoRow / rows_per_slab);
}

// Of the budget, slabs that reads in progress may hold back while others are filled.
size_t SpareSlabs(size_t slabs) { return std::clamp<size_t>(slabs / 16, 1, 16); }

}  // namespace

RowStore::RowStore(size_t stride, uint64_t max_bytes)
    : stride_(stride),
      rows_per_slab_(RowsPerSlab(stride, max_bytes)),
      slab_shift_(std::countr_zero(rows_per_slab_)),
      slabs_(Slabs(slab_bytes(), rows_per_slab_, max_bytes)),
      memory_(static_cast<std::byte*>(AllocateHugePages(slabs_.size() * slab_bytes()))),
      max_used_slabs_(slabs_.size() - SpareSlabs(slabs_.size())) {}

RowStore::~RowStore() { FreeHugePages(memory_, slabs_.size() * slab_bytes()); }

uint64_t RowStore::stored_bytes() const {
  const size_t held_back = free_.size() - ReusableSlabs();
  return (used_slabs_ + held_back) * slab_bytes();
}

RowStore::Room RowStore::Reserve(size_t count, std::vector<Address>& rows) {
  const size_t left = open_ == kNoSlab ? 0 : rows_per_slab_ - slabs_[open_].written;
  const size_t slabs = count <= left ? 0 : (count - left + rows_per_slab_ - 1) / rows_per_slab_;
  if (slabs > max_used_slabs_ - used_slabs_) return Room::kFull;
  if (slabs > ReusableSlabs() + slabs_.size() - touched_slabs_) return Room::kHeldBack;
  for (size_t i = 0; i < count; ++i) {
    if (open_ == kNoSlab || slabs_[open_].written == rows_per_slab_) OpenSlab();
    Slab& slab = slabs_[open_];
    const Address row = static_cast<Address>(open_ * rows_per_slab_ + slab.written++);
    ++slab.references;
    SetNext(row, kNoRow);
    rows.push_back(row);
  }
  return Room::kReserved;
}

void RowStore::Release(Address row) {
  const uint32_t number = row >> slab_shift_;
  if (--slabs_[number].references > 0) return;
  if (number == open_) open_ = kNoSlab;
  Free(number);
}

size_t RowStore::ReusableSlabs() const {
  if (reads_.empty()) return free_.size();
  const auto later = std::partition_point(free_.begin(), free_.end(),
                                          [&](const FreeSlab& slab) { return slab.freed_at < *reads_.begin(); });
  return static_cast<size_t>(later - free_.begin());
}

void RowStore::OpenSlab() {
  if (ReusableSlabs() > 0) {
    open_ = free_.front().slab;
    free_.pop_front();
  } else {
    open_ = static_cast<uint32_t>(touched_slabs_++);
  }
  slabs_[open_].written = 0;
  ++used_slabs_;
}

void RowStore::Free(uint32_t slab) {
  --used_slabs_;
  free_.push_back({slab, time_});
}

uint64_t RowStore::BeginRead() {
  reads_.insert(++time_);
  return time_;
}

void RowStore::EndRead(uint64_t read) { reads_.erase(reads_.find(read)); }

}  // namespace headrace
