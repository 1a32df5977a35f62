#include "replay/table_plan.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "common/printable.h"
#include "common/status_macros.h"
#include "replay/item_store.h"
#include "replay/selector/selector.h"

namespace headrace {
namespace {

constexpr uint64_t kQueueOverhang = 1024;  // items
constexpr size_t kMaxNameLetters = 100;

absl::Status Refuse(const v1::TableSpec& spec, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrFormat("table \"%s\": %s", spec.name(), why));
}

absl::Status CheckFields(const v1::TableSpec& spec) {
  const auto refuse = [&](const std::string& why) { return Refuse(spec, why); };
  for (const v1::Selector selector : {spec.sampler(), spec.remover()}) {
    if (FindSelector(selector) == nullptr) return refuse(absl::StrFormat("unknown selector %d", selector));
  }
  if (spec.max_item_rows() == 0 || spec.max_item_rows() > ItemStore::kMaxRows) {
    return refuse(
        absl::StrFormat("expected max_item_rows from 1 to %d, got %d", ItemStore::kMaxRows, spec.max_item_rows()));
  }
  if (spec.context_rows() > ItemStore::kMaxContext || spec.context_rows() >= spec.max_item_rows()) {
    return refuse(absl::StrFormat("expected context_rows up to %d and below max_item_rows, which is %d, got %d",
                                  ItemStore::kMaxContext, spec.max_item_rows(), spec.context_rows()));
  }
  if (spec.min_item_rows() > spec.max_item_rows() - spec.context_rows()) {
    return refuse(
        absl::StrFormat("expected min_item_rows up to %d, which is max_item_rows without context_rows, got %d",
                        spec.max_item_rows() - spec.context_rows(), spec.min_item_rows()));
  }
  if (!(spec.priority_exponent() >= 0) || std::isinf(spec.priority_exponent())) {
    return refuse(
        absl::StrFormat("expected a finite priority_exponent of 0 or more, got %g", spec.priority_exponent()));
  }
  if (spec.max_times_sampled() > ItemStore::kMaxTimesSampled) {
    return refuse(absl::StrFormat("expected max_times_sampled up to %d, got %d", ItemStore::kMaxTimesSampled,
                                  spec.max_times_sampled()));
  }
  return absl::OkStatus();
}

// Whether the table fits the one that it is over.
absl::Status CheckOver(const v1::TableSpec& spec, const RowsTable& rows) {
  const v1::TableSpec& over = *rows.spec;
  const auto refuse = [&](const std::string& why) {
    return Refuse(spec, absl::StrFormat("over the rows of table \"%s\": %s", over.name(), why));
  };
  if (!over.over().empty()) {
    return refuse(absl::StrFormat("expected one with rows of its own, but that is over table \"%s\"", over.over()));
  }
  if (const absl::Status same = CheckSameSignature(over.signature(), spec.signature()); !same.ok()) {
    return refuse(std::string(same.message()));
  }
  if (spec.max_item_rows() > over.max_item_rows() || spec.context_rows() > over.context_rows()) {
    return refuse(absl::StrFormat("expected max_item_rows up to %d and context_rows up to %d, got %d and %d",
                                  over.max_item_rows(), over.context_rows(), spec.max_item_rows(),
                                  spec.context_rows()));
  }
  if (spec.items_span_episodes() != over.items_span_episodes() || spec.lockstep() != over.lockstep()) {
    return refuse("expected the same items_span_episodes and lockstep");
  }
  if (!FindSelector(spec.remover())->oldest_first && !rows.singly) {
    return refuse(absl::StrFormat(
        "expected remover first_in_first_out, as that table has it, got %s: rows that come together go together there, "
        "and each item that stays would keep those beside its own. A table whose rows are its own may have any remover",
        FindSelector(spec.remover())->name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TablePlan> PlanTable(const v1::TableSpec& spec, const RowsTable* over) {
  const auto refuse = [&](const std::string& why) { return Refuse(spec, why); };
  // Errors list the names, as headers of limited size.
  if (spec.name().empty() || spec.name().size() > kMaxNameLetters ||
      !std::ranges::all_of(spec.name(), absl::ascii_isgraph)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("table \"%s\": expected a name of 1 to %d printable letters, digits or signs, got %d",
                        Printable(spec.name().substr(0, kMaxNameLetters)), kMaxNameLetters, spec.name().size()));
  }
  absl::StatusOr<RowLayout> layout = RowLayout::Create(spec.signature(), spec.context_rows() > 0);
  if (!layout.ok()) return refuse(std::string(layout.status().message()));
  RETURN_IF_ERROR(CheckFields(spec));
  if (over != nullptr) RETURN_IF_ERROR(CheckOver(spec, *over));
  const uint64_t book_bytes = ItemStore::BookBytes(spec.sampler(), spec.remover());
  // Of a single row that has a slab of its own.
  const bool singly = over == nullptr && !FindSelector(spec.remover())->oldest_first;
  const uint64_t slab_books = singly ? RowStore::kSlabBooks : 0;
  const uint64_t bytes_per_item = book_bytes + (over == nullptr ? layout->least_row_bytes() + slab_books : 0);
  const uint64_t fitting = spec.max_bytes() / bytes_per_item;
  // A queue's last chunk may bring more items than there was place for.
  const uint64_t wanted = spec.queue() ? 2 * spec.max_items() + kQueueOverhang : spec.max_items();
  const uint64_t items = std::min<uint64_t>(wanted > 0 ? std::min(wanted, fitting) : fitting, UINT32_MAX - 1);
  const uint64_t row_bytes = over == nullptr ? spec.max_bytes() - std::min(spec.max_bytes(), items * book_bytes) : 0;
  const uint64_t rows = over == nullptr ? row_bytes / (layout->most_row_bytes() + slab_books) : over->rows;
  if (items == 0 && over != nullptr) {
    return refuse(absl::StrFormat("a budget of %d bytes does not hold the books of an item, which take %d",
                                  spec.max_bytes(), book_bytes));
  }
  if (over == nullptr && (items == 0 || rows < 2 * spec.max_item_rows())) {
    return refuse(absl::StrFormat("a budget of %d bytes holds less than two items of %d rows of %d bytes",
                                  spec.max_bytes(), spec.max_item_rows(), layout->most_row_bytes()));
  }
  if (spec.queue()) {
    if (spec.max_items() == 0 || spec.max_times_sampled() == 0) {
      return refuse("a queue needs max_items and max_times_sampled above 0: nothing else makes room in it");
    }
    if (spec.max_items() >= items || rows / spec.max_item_rows() < 2 * spec.max_items()) {
      return refuse(
          absl::StrFormat("a budget of %d bytes%s does not hold twice a queue's %d items of %d rows of %d bytes",
                          spec.max_bytes(), over == nullptr ? "" : absl::StrFormat(" for books, with %d rows,", rows),
                          spec.max_items(), spec.max_item_rows(), layout->most_row_bytes()));
    }
  }
  if (spec.min_items() > items) {
    return refuse(absl::StrFormat("min_items is %d, but the budget of %d bytes holds only %d items", spec.min_items(),
                                  spec.max_bytes(), items));
  }
  return TablePlan{.layout = *std::move(layout), .item_capacity = items, .row_bytes = row_bytes, .rows_singly = singly};
}

}  // namespace headrace
