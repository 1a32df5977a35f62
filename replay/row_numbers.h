// Numbers for some of a RowStore's rows, one after the other: a file holds these rows and no others.
//
//   RowNumbers numbers(rows.rows_per_slab(), rows.address_end());
//   numbers.Add(row); ...                 // in any order, also more than once
//   numbers.Number(slab); ...             // each slab that has rows, in the order of the file
//   numbers[row]; numbers.ForEach(slab, visit);
//
// A row takes 0.4 bytes: a bit that it is there, one that it has a link, and its share of a count.
#ifndef HEADRACE_REPLAY_ROW_NUMBERS_H_
#define HEADRACE_REPLAY_ROW_NUMBERS_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/status_macros.h"
#include "replay/row_store.h"

namespace headrace {

class RowNumbers {
 public:
  // For rows with addresses below `address_end`. Slabs without any that are added take no memory for them.
  RowNumbers(size_t rows_per_slab, size_t address_end);

  void Add(uint64_t row) { WordOf(row).present |= Bit(row); }
  // A row whose link belongs to the file.
  void AddLinked(uint64_t row) {
    Word& word = WordOf(row);
    word.present |= Bit(row);
    word.linked |= Bit(row);
  }
  void Number(uint32_t slab);

  uint32_t count() const { return count_; }
  // Of a row that has been added, after Number of its slab.
  uint32_t operator[](uint64_t row) const {
    const Word& word = slabs_[row >> slab_shift_][(row & row_mask_) / 64];
    return word.before + static_cast<uint32_t>(std::popcount(word.present & (Bit(row) - 1)));
  }

  // Calls `visit(address, linked)` for each of a slab, in order, until one fails.
  template <typename Visit>
  absl::Status ForEach(uint32_t slab, Visit visit) const {
    const uint64_t begin = static_cast<uint64_t>(slab) << slab_shift_;
    for (size_t w = 0; w < slabs_[slab].size(); ++w) {
      const Word& word = slabs_[slab][w];
      for (uint64_t left = word.present; left != 0; left &= left - 1) {
        const int i = std::countr_zero(left);
        const bool linked = (word.linked >> i) & 1;
        RETURN_IF_ERROR(visit(static_cast<RowStore::Address>(begin + w * 64 + i), linked));
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Word {
    uint64_t present = 0;
    uint64_t linked = 0;
    uint32_t before = 0;  // rows with lower numbers than this word's
  };

  uint64_t Bit(uint64_t row) const { return uint64_t{1} << ((row & row_mask_) % 64); }
  Word& WordOf(uint64_t row) {
    std::vector<Word>& slab = slabs_[row >> slab_shift_];
    if (slab.empty()) slab.resize(row_mask_ / 64 + 1);
    return slab[(row & row_mask_) / 64];
  }

  int slab_shift_;  // of the logarithm of rows in a slab
  uint64_t row_mask_;
  std::vector<std::vector<Word>> slabs_;
  uint32_t count_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_ROW_NUMBERS_H_
