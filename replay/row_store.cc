#include "replay/row_store.h"

#include <algorithm>
#include <bit>

namespace headrace {
namespace {

constexpr size_t kSlabBytes = 1 << 20;
// A small budget is cut into enough slabs that removing old items frees some. A power of two: a row's slab is then
// found by a shift.
size_t RowsPerSlab(size_t row_bytes, uint64_t max_bytes) {
  const size_t bytes = std::min<uint64_t>(kSlabBytes, max_bytes / 16);
  return std::bit_floor(std::max<size_t>(1, bytes / row_bytes));
}

size_t Slabs(size_t slab_bytes, size_t rows_per_slab, uint64_t max_bytes) {
  return std::clamp<uint64_t>(max_bytes / slab_bytes, 3, RowStore::kNoRow / rows_per_slab);
}

// Of the budget, slabs that reads in progress may hold back while others are filled: those of batches hold a few for a
// moment, a checkpoint all that become free until it has written the first, the longer the larger the table is.
size_t SpareSlabs(size_t slabs) {
  const size_t for_batches = std::clamp<size_t>(slabs / 16, 1, 16);
  return std::max(slabs / 32, for_batches);
}

// The same with cells, which make a slab's bytes a matter of its rows.
uint64_t SpareBytes(uint64_t max_bytes) {
  return std::max<uint64_t>(max_bytes / 32, std::min<uint64_t>(max_bytes / 16, 16 * kSlabBytes));
}

// Of the memory that insertion takes next, what is taken for it before: more than comes in half a second.
constexpr size_t kPopulatedBytes = 64 << 20;

}  // namespace

RowStore::RowStore(const RowBytes& row, uint64_t max_bytes)
    : stride_(row.stride),
      row_bytes_(row),
      max_bytes_(max_bytes),
      rows_per_slab_(row.singly ? 1 : RowsPerSlab(row.most, max_bytes)),
      slab_shift_(std::countr_zero(rows_per_slab_)),
      slabs_(Slabs(rows_per_slab_ * row.least + (row.singly ? kSlabBooks : 0), rows_per_slab_, max_bytes)),
      memory_(static_cast<std::byte*>(AllocateHugePages(slabs_.size() * slab_bytes()))),
      max_used_slabs_(slabs_.size() - SpareSlabs(slabs_.size())) {}

RowStore::~RowStore() { FreeHugePages(memory_, slabs_.size() * slab_bytes()); }

uint64_t RowStore::stored_bytes() const {
  const size_t held_back = free_.size() - ReusableSlabs() + pinned_free_slabs_;
  return (used_slabs_ + held_back) * slab_cost() + cell_bytes_;
}

bool RowStore::CanHold(size_t rows, uint64_t cell_bytes) const {
  if (rows > max_rows()) return false;
  // Rows may begin in the middle of a slab.
  const size_t slabs = rows / rows_per_slab_ + 2;
  return cell_bytes == 0 || slabs * slab_cost() + cell_bytes <= max_bytes_ - SpareBytes(max_bytes_);
}

size_t RowStore::sure_rows() const {
  if (row_bytes_.most == stride_) return max_rows();
  const size_t most = row_bytes_.most + slab_cost() - slab_bytes();  // what a slab takes besides, of a single row
  return std::min<size_t>(max_rows(), (max_bytes_ - SpareBytes(max_bytes_)) / most);
}

RowStore::Room RowStore::Reserve(size_t count, size_t cell_bytes, std::vector<Address>& rows, std::byte*& cells,
                                 bool all) {
  DropCells();
  const size_t left = open_ == kNoSlab ? 0 : rows_per_slab_ - slabs_[open_].written;
  const size_t slabs = count <= left ? 0 : (count - left + rows_per_slab_ - 1) / rows_per_slab_;
  if (used_slabs_ + slabs > (all ? slabs_.size() : max_used_slabs_)) return Room::kFull;
  if (slabs > ReusableSlabs() + slabs_.size() - touched_slabs_) return Room::kHeldBack;
  std::shared_ptr<CellBlock> block;
  if (cell_bytes > 0) {
    const uint64_t used = (used_slabs_ + slabs) * slab_cost() + used_cell_bytes_ + cell_bytes;
    if (used > max_bytes_ - (all ? 0 : SpareBytes(max_bytes_))) return Room::kFull;
    if (stored_bytes() + slabs * slab_cost() + cell_bytes > max_bytes_) return Room::kHeldBack;
    block = std::make_shared<CellBlock>(cell_bytes, &cell_bytes_);
    cells = block->memory.get();
    used_cell_bytes_ += cell_bytes;
  }
  for (size_t i = 0; i < count; ++i) {
    if (open_ == kNoSlab || slabs_[open_].written == rows_per_slab_) OpenSlab();
    Slab& slab = slabs_[open_];
    if (block != nullptr && (slab.cells.empty() || slab.cells.back() != block)) {
      slab.cells.push_back(block);
      ++block->slabs;
    }
    const Address row = static_cast<Address>(open_ * rows_per_slab_ + slab.written++);
    ++slab.references;
    SetNext(row, kNoRow);
    rows.push_back(row);
  }
  reserved_rows_ += count;
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
  slabs_[open_].opened_at = openings_++;
  slabs_[open_].opened_rows = reserved_rows_;
  slabs_[open_].opened = Clock::now();
  ++used_slabs_;
}

void RowStore::Free(uint32_t slab) {
  --used_slabs_;
  for (const std::shared_ptr<CellBlock>& block : slabs_[slab].cells) {
    if (--block->slabs > 0) continue;
    used_cell_bytes_ -= block->bytes;
    free_cells_.push_back({block, time_});
  }
  if (slabs_[slab].pins == 0) {
    PutBack(slab);
  } else {
    ++pinned_free_slabs_;
  }
}

void RowStore::PutBack(uint32_t slab) {
  slabs_[slab].cells.clear();
  free_.push_back({slab, time_});
}

std::vector<RowStore::Pinned> RowStore::Pin() {
  std::vector<Pinned> pinned;
  pinned.reserve(used_slabs_);
  for (uint32_t i = 0; i < touched_slabs_; ++i) {
    Slab& slab = slabs_[i];
    if (slab.references == 0) continue;
    ++slab.pins;
    pinned.push_back({i, slab.opened_at});
  }
  return pinned;
}

void RowStore::Unpin(const Pinned& pinned) {
  Slab& slab = slabs_[pinned.slab];
  if (--slab.pins > 0 || slab.references > 0) return;
  --pinned_free_slabs_;
  PutBack(pinned.slab);
  DropCells();
}

std::span<std::byte> RowStore::NextUntouched() const {
  const size_t slabs = std::min({slabs_.size() - max_used_slabs_, slabs_.size() - touched_slabs_,
                                 std::max<size_t>(1, kPopulatedBytes / slab_bytes())});
  return {memory_ + touched_slabs_ * slab_bytes(), slabs * slab_bytes()};
}

RowStore::Stay RowStore::StayOf(Address row) const {
  const Slab& slab = slabs_[row >> slab_shift_];
  return {std::chrono::duration<double>(Clock::now() - slab.opened).count(), reserved_rows_ - slab.opened_rows};
}

void RowStore::DropCells() {
  while (!free_cells_.empty() && (reads_.empty() || free_cells_.front().freed_at < *reads_.begin())) {
    free_cells_.pop_front();
  }
}

uint64_t RowStore::BeginRead() {
  reads_.insert(++time_);
  return time_;
}

void RowStore::EndRead(uint64_t read) {
  reads_.erase(reads_.find(read));
  DropCells();
}

}  // namespace headrace
