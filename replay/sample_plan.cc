#include "replay/sample_plan.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

absl::StatusOr<Slice> PlanSlice(const v1::ColumnSlice& slice, const Table& table) {
  const v1::TableSpec& spec = table.spec();
  const int column = table.layout().Find(slice.column());
  if (column < 0) {
    return absl::NotFoundError(absl::StrFormat("table \"%s\" has no column \"%s\"", spec.name(), slice.column()));
  }
  const uint64_t stride = std::max(slice.stride(), 1u);
  const uint64_t end = slice.rows() == 0 ? 0 : slice.first_row() + (slice.rows() - 1) * stride + 1;
  const uint32_t item_rows = spec.max_item_rows() - spec.context_rows();
  if (slice.rows() == 0 || end > item_rows) {
    return absl::InvalidArgumentError(
        absl::StrFormat("column \"%s\": expected rows within items of %d rows, got rows %d to %d", slice.column(),
                        item_rows, slice.first_row(), end));
  }
  const uint32_t stack = std::max(slice.stack(), 1u);
  if (stack > spec.context_rows() + 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "column \"%s\": expected stacks of up to %d rows, because table \"%s\" keeps %d before each item, got %d",
        slice.column(), spec.context_rows() + 1, spec.name(), spec.context_rows(), stack));
  }
  return Slice{column, slice.first_row(), slice.rows(), static_cast<uint32_t>(stride), stack};
}

}  // namespace

absl::StatusOr<SamplePlan> PlanSample(const v1::SampleOpen& open, const Table& table) {
  if (open.slices().empty() || open.slices_size() > kMaxSlices) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected 1 to %d slices, got %d", kMaxSlices, open.slices_size()));
  }
  SamplePlan plan;
  for (const v1::ColumnSlice& asked : open.slices()) {
    ASSIGN_OR_RETURN(const Slice slice, PlanSlice(asked, table));
    plan.rows_needed = std::max(plan.rows_needed, slice.last_row() + 1);
    plan.item_bytes += BytesPerItem(slice, table.layout());
    if (plan.item_bytes > kMaxItemBytes) {
      return absl::InvalidArgumentError(absl::StrFormat("expected slices of up to %d bytes an item, got %d and more",
                                                        kMaxItemBytes, plan.item_bytes));
    }
    plan.slices.push_back(slice);
  }
  return plan;
}

}  // namespace headrace
