#include "replay/row_numbers.h"

#include "common/check.h"

namespace headrace {

RowNumbers::RowNumbers(size_t rows_per_slab, size_t address_end)
    : slab_shift_(std::countr_zero(rows_per_slab)), row_mask_(rows_per_slab - 1), slabs_(address_end >> slab_shift_) {
  HEADRACE_CHECK(std::has_single_bit(rows_per_slab));
}

void RowNumbers::Number(uint32_t slab) {
  for (Word& word : slabs_[slab]) {
    word.before = count_;
    count_ += static_cast<uint32_t>(std::popcount(word.present));
  }
}

}  // namespace headrace
