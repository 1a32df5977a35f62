// Rows in slabs of about 1 MiB, or each in one of its own. A row is written once and then only read.
//
//                         slabs_            free_ (with the time they became free)
//   row address = slab * rows_per_slab + index
//   Reserve ──▶ [open slab: rows in order of arrival] ── full ──▶ [slab] ── last reference gone ──▶ free ──▶ reused
//
// A slab counts references to its rows: one for each row of each item, one for each row that a lane may still refer to,
// one for each row being written. When none is left it is free, and it is reused once every read that had begun before
// then has ended.
//
// Cells, what rows hold of compressed columns, lie in blocks of their own, one for the rows that were reserved
// together. A block goes with the last slab that has rows of it, and as late as that is reused.
//
// A checkpoint reads for long, and would hold back every slab that becomes free meanwhile. It pins the slabs of its
// rows instead, and lets go of them one by one.
//
// Thread-safety: the table's mutex guards every method but Row, Next and their use: a row may be read without it
// between BeginRead and EndRead, if it was referenced when the read began.
#ifndef HEADRACE_REPLAY_ROW_STORE_H_
#define HEADRACE_REPLAY_ROW_STORE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "common/huge_pages.h"

namespace headrace {

class RowStore {
 public:
  using Address = uint32_t;
  using Clock = std::chrono::steady_clock;
  static constexpr Address kNoRow = UINT32_MAX;

  struct RowBytes {
    size_t stride;
    // With cells: at least, as far as rows are counted, and at most. Otherwise both are the stride.
    size_t least = stride;
    size_t most = stride;
    // A slab holds one row: where rows do not become free in the order in which they came, of larger ones a row here
    // and there would keep each.
    bool singly = false;
  };
  // What a row that has a slab of its own takes besides.
  static constexpr size_t kSlabBooks = 96;
  // Takes at most `max_bytes` and holds at most 2^32 rows, but never less than two slabs of one. Memory is taken as
  // slabs are first used, and kept, but that of kSlabBooks at once; that of cells comes and goes. Throws std::bad_alloc
  // where there is no address space for so much.
  RowStore(const RowBytes& row, uint64_t max_bytes);
  ~RowStore();
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  enum class Room {
    kReserved,
    kFull,      // something must be removed first
    kHeldBack,  // there is room, but reads that are going on still use it
  };
  // Appends the addresses of `count` new rows, each with one reference, and gives them a block for all their cells; or
  // none. `all`: also of what is spared for reads, of which there are none yet.
  Room Reserve(size_t count, std::vector<Address>& rows, bool all = false) {
    std::byte* no_cells;
    return Reserve(count, 0, rows, no_cells, all);
  }
  Room Reserve(size_t count, size_t cell_bytes, std::vector<Address>& rows, std::byte*& cells, bool all = false);
  void Reference(Address row) { ++slabs_[row >> slab_shift_].references; }
  void Release(Address row);

  std::byte* Row(Address row) const { return memory_ + row * stride_; }
  // The lane's next row, kept in the row itself; kNoRow: it has not arrived.
  Address Next(Address row) const {
    Address next;
    std::memcpy(&next, Row(row), sizeof(next));
    return next;
  }
  void SetNext(Address row, Address next) { std::memcpy(Row(row), &next, sizeof(next)); }
  // Only where the layout has an age: how many rows of its episode came before the row, at most kMaxAge.
  static constexpr uint32_t kMaxAge = UINT8_MAX;
  static uint32_t Age(const std::byte* row) { return std::to_integer<uint32_t>(row[sizeof(Address)]); }
  void SetAge(Address row, uint64_t age) {
    Row(row)[sizeof(Address)] = static_cast<std::byte>(age < kMaxAge ? age : kMaxAge);
  }

  // Slabs that become free from now on are not reused before EndRead.
  uint64_t BeginRead();
  void EndRead(uint64_t read);

  // A slab that is not reused before it is unpinned, nor are the cells of its rows.
  struct Pinned {
    uint32_t slab;
    uint64_t opened_at;  // the lower, the older its rows
  };
  // All that have referenced rows.
  std::vector<Pinned> Pin();
  void Unpin(const Pinned& pinned);

  // The memory that insertion takes next while slabs are held back, as far as it has never been used; 64 MiB at most.
  std::span<std::byte> NextUntouched() const;

  // How long ago the slab of a referenced row was opened, and how many rows have been reserved since: the row is no
  // older.
  struct Stay {
    double seconds;
    uint64_t rows;
  };
  Stay StayOf(Address row) const;

  // How many slabs have been opened before that of a referenced row, and in all.
  uint64_t OpenedBefore(Address row) const { return slabs_[row >> slab_shift_].opened_at; }
  uint64_t opened_slabs() const { return openings_; }

  // That hold referenced rows.
  size_t used_slabs() const { return used_slabs_; }
  // Of these slabs, and of those that reads hold back, and of cells.
  uint64_t stored_bytes() const;
  size_t slab_bytes() const { return rows_per_slab_ * stride_; }
  bool singly() const { return row_bytes_.singly; }
  size_t rows_per_slab() const { return rows_per_slab_; }
  // More can never be reserved.
  size_t max_rows() const { return max_used_slabs_ * rows_per_slab_; }
  // Whether so many rows can, with cells of so many bytes in all; and how many, whatever their cells take.
  bool CanHold(size_t rows, uint64_t cell_bytes) const;
  size_t sure_rows() const;
  // Every address is below this.
  size_t address_end() const { return slabs_.size() * rows_per_slab_; }

 private:
  // That count towards the budget.
  size_t slab_cost() const { return slab_bytes() + (singly() ? kSlabBooks : 0); }

  struct CellBlock {
    // Counts towards `all` for as long as it exists.
    CellBlock(size_t size, uint64_t* all) : bytes(size), memory(new std::byte[size]), all_bytes(all) {
      *all_bytes += bytes;
    }
    ~CellBlock() { *all_bytes -= bytes; }
    CellBlock(const CellBlock&) = delete;
    CellBlock& operator=(const CellBlock&) = delete;

    const size_t bytes;
    const std::unique_ptr<std::byte[]> memory;
    uint64_t* const all_bytes;
    uint32_t slabs = 0;  // that have rows of it, and are used
  };
  struct Slab {
    uint32_t written = 0;
    uint32_t pins = 0;
    uint64_t references = 0;
    uint64_t opened_at = 0;    // in openings
    uint64_t opened_rows = 0;  // that had been reserved before
    Clock::time_point opened{};
    std::vector<std::shared_ptr<CellBlock>> cells;  // also of a free one, while it is pinned
  };
  static_assert(sizeof(Slab) + 2 * sizeof(uint64_t) <= kSlabBooks);  // with its place among the free ones
  struct FreeSlab {
    uint32_t slab;
    uint64_t freed_at;
  };
  struct FreeCells {
    std::shared_ptr<CellBlock> block;
    uint64_t freed_at;
  };
  static constexpr uint32_t kNoSlab = UINT32_MAX;

  // Free slabs that no read in progress may see.
  size_t ReusableSlabs() const;
  void OpenSlab();
  void Free(uint32_t slab);
  // To be reused when those reads are over that may see it.
  void PutBack(uint32_t slab);
  // Those that no read in progress may see.
  void DropCells();

  const size_t stride_;
  const RowBytes row_bytes_;
  const uint64_t max_bytes_;
  const size_t rows_per_slab_;
  const int slab_shift_;     // of its logarithm
  uint64_t cell_bytes_ = 0;  // with those that reads hold back
  std::vector<Slab> slabs_;
  std::byte* const memory_;  // of all slabs, one after the other
  const size_t max_used_slabs_;
  uint32_t open_ = kNoSlab;
  size_t used_slabs_ = 0;
  size_t touched_slabs_ = 0;  // that have been used
  std::deque<FreeSlab> free_;
  size_t pinned_free_slabs_ = 0;  // that would be in free_, but are pinned
  uint64_t openings_ = 0;
  uint64_t reserved_rows_ = 0;    // ever
  uint64_t used_cell_bytes_ = 0;  // of used slabs
  std::deque<FreeCells> free_cells_;
  uint64_t time_ = 0;  // counts reads
  std::multiset<uint64_t> reads_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_ROW_STORE_H_
