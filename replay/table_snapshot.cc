// How a table is saved, and how it is filled again.
#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/huge_pages.h"
#include "common/low_priority.h"
#include "common/status_macros.h"
#include "replay/cell.h"
#include "replay/table.h"

namespace headrace {

Table::Snapshot Table::TakeSnapshot(bool with_queues) {
  HEADRACE_CHECK(has_own_rows());
  MutexLock one_at_a_time(&snapshot_mutex_);
  // What takes long is done without the tables' mutex, which is to have memory, or in pieces.
  struct Size {
    size_t slots, capacity;
  };
  std::vector<Size> sizes;
  std::span<std::byte> untouched;
  {
    MutexLock lock(&chunks_.mutex);
    untouched = chunks_.rows.NextUntouched();
    for (const Table* const table : chunks_.tables) {
      table->AssertLocked();
      const bool copied = !table->spec_.queue() || with_queues;
      sizes.push_back(copied ? Size{table->items_.slots(), table->items_.capacity()} : Size{0, 0});
    }
  }
  std::vector<ItemStore::Copy> copies(sizes.size());
  RunAtLowPriority([&] {
    PopulatePages(untouched);  // insertion takes it while the others are pinned
    for (size_t i = 0; i < sizes.size(); ++i) copies[i].Reserve(sizes[i].slots, sizes[i].capacity);
  });
  WriterBook::Saved writers;
  Snapshot snapshot = Cut(copies, writers, with_queues);
  snapshot.writers = writers.ToMessages(spec_.name());
  while (CopySome()) std::this_thread::sleep_for(kLetOthersIn);
  for (size_t i = 0; i < copies.size(); ++i) snapshot.tables[i].items = std::move(copies[i]);
  std::ranges::sort(snapshot.pins.slabs_, {}, &RowStore::Pinned::opened_at);
  return snapshot;
}

Table::Snapshot Table::Cut(std::vector<ItemStore::Copy>& copies, WriterBook::Saved& writers, bool with_queues) {
  MutexLock lock(&chunks_.mutex);
  Snapshot snapshot;
  copies.resize(chunks_.tables.size());
  for (size_t i = 0; i < copies.size(); ++i) {
    Table& table = *chunks_.tables[i];
    table.AssertLocked();
    snapshot.tables.push_back(table.CutBooks(copies[i], with_queues));
  }
  writers = chunks_.writers.Save();
  snapshot.pins.table_ = this;
  snapshot.pins.slabs_ = chunks_.rows.Pin();
  return snapshot;
}

Table::Books Table::CutBooks(ItemStore::Copy& items, bool with_queues) {
  Books books = {.spec = spec_, .state = StateLocked(), .items = {}};
  books.state.set_inserted_steps(chunks_.inserted_steps);  // they are as durable as the checkpoint
  if (spec_.queue() && !with_queues) {
    books.state.set_removed_items(books.state.removed_items() + items_.size());
  } else {
    items_.BeginCopy(items);
  }
  return books;
}

bool Table::CopySome() {
  MutexLock lock(&chunks_.mutex);
  // By all of them: the last may have begun with nothing to copy.
  bool more = false;
  for (Table* const table : chunks_.tables) {
    table->AssertLocked();
    more |= table->items_.CopySome();
  }
  return more;
}

Table::Pins& Table::Pins::operator=(Pins&& other) noexcept {
  std::swap(table_, other.table_);
  slabs_.swap(other.slabs_);
  std::swap(gone_, other.gone_);
  return *this;
}

Table::Pins::~Pins() {
  if (gone_ < slabs_.size()) LetGo(slabs_.size());
}

void Table::Pins::LetGo(size_t count) {
  std::vector<Callback> writers;
  {
    MutexLock lock(&table_->chunks_.mutex);
    for (const size_t end = std::min(gone_ + count, slabs_.size()); gone_ < end;) {
      table_->chunks_.rows.Unpin(slabs_[gone_++]);
    }
    writers = table_->TakeAdmittedWriters();  // they may wait for these slabs
  }
  WakeAll(writers);
}

absl::Status Table::FillRows(std::span<const RowStore::Address> rows, ReadBytes read) {
  const size_t stride = chunks_.layout.stride();
  for (size_t begin = 0; begin < rows.size();) {
    // Rows of one slab lie one after the other.
    size_t end = begin + 1;
    while (end < rows.size() && chunks_.rows.Row(rows[end]) == chunks_.rows.Row(rows[begin]) + (end - begin) * stride)
      ++end;
    RETURN_IF_ERROR(read({chunks_.rows.Row(rows[begin]), (end - begin) * stride}));
    begin = end;
  }
  return absl::OkStatus();
}

absl::Status Table::AddRowsWithCells(size_t count, ReadBytes read, std::vector<RowStore::Address>& rows) {
  const RowLayout& layout = chunks_.layout;
  std::vector<std::byte> images(count * layout.stride());
  std::vector<std::byte> cells;
  for (size_t i = 0; i < count; ++i) {
    const std::span<std::byte> image = std::span(images).subspan(i * layout.stride(), layout.stride());
    RETURN_IF_ERROR(read(image));
    if (!layout.CellsFit(image.data())) return absl::DataLossError("a row's cell has a size that it cannot have");
    const size_t before = cells.size();
    cells.resize(before + layout.CellBytes(image.data()));
    RETURN_IF_ERROR(read(std::span(cells).subspan(before)));
  }
  const size_t first = rows.size();
  std::byte* block = nullptr;
  if (chunks_.rows.Reserve(count, cells.size(), rows, block, /*all=*/true) != RowStore::Room::kReserved) {
    return absl::ResourceExhaustedError("they do not fit");
  }
  std::ranges::copy(cells, block);
  for (size_t i = 0; i < count; ++i) {
    std::byte* const row = chunks_.rows.Row(rows[first + i]);
    std::memcpy(row, images.data() + i * layout.stride(), layout.stride());
    for (const RowLayout::ColumnLayout& column : layout.columns()) {
      if (!column.compressed) continue;
      const Cell cell = {block, Cell::Load(row + column.offset).bytes};
      cell.Store(row + column.offset);
      block += cell.bytes;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RowStore::Address>> Table::RestoreRows(uint64_t count, ReadBytes read) {
  MutexLock lock(&chunks_.mutex);
  HEADRACE_CHECK(has_own_rows() && chunks_.writers.empty() && items_.size() == 0);
  const auto too_many = [&] {
    return absl::ResourceExhaustedError(
        absl::StrFormat("table \"%s\": %d rows do not fit into %d bytes", spec_.name(), count, spec_.max_bytes()));
  };
  std::vector<RowStore::Address> rows;
  // A table that was filled by a release which spared less must fit, too.
  if (count > chunks_.rows.address_end()) return too_many();
  while (chunks_.layout.compressed_columns() > 0 && rows.size() < count) {
    const size_t added = std::min<uint64_t>(chunks_.rows.rows_per_slab(), count - rows.size());
    const absl::Status status = AddRowsWithCells(added, read, rows);
    if (absl::IsResourceExhausted(status)) return too_many();
    RETURN_IF_ERROR(status);
  }
  if (chunks_.layout.compressed_columns() == 0) {
    if (chunks_.rows.Reserve(count, rows, /*all=*/true) != RowStore::Room::kReserved) return too_many();
    RETURN_IF_ERROR(FillRows(rows, read));
  }
  for (const RowStore::Address row : rows) {
    const uint32_t next = chunks_.rows.Next(row);
    if (next == RowStore::kNoRow) continue;
    if (next >= rows.size()) return absl::DataLossError("a row's link leads nowhere");
    chunks_.rows.SetNext(row, rows[next]);
  }
  return rows;
}

absl::Status Table::RestoreBooks(const v1::TableState& state, const std::vector<v1::WriterCheckpoint>& writers,
                                 const std::vector<Item>& items, std::span<const RowStore::Address> rows) {
  MutexLock lock(&chunks_.mutex);
  if (items.size() > items_.capacity()) {
    return absl::ResourceExhaustedError(absl::StrFormat("table \"%s\": %d items do not fit into %d bytes", spec_.name(),
                                                        items.size(), spec_.max_bytes()));
  }
  for (const Item& item : items) {
    RowStore::Address row = item.first_row < rows.size() ? rows[item.first_row] : RowStore::kNoRow;
    const RowStore::Address first = row;
    for (uint32_t left = item.rows_held(); left > 1 && row != RowStore::kNoRow; --left) row = chunks_.rows.Next(row);
    if (row == RowStore::kNoRow || item.rows == 0 || item.rows < spec_.min_item_rows()) {
      return absl::DataLossError("an item's rows are missing");
    }
    if (!IsPriority(item.priority)) return absl::DataLossError("an item's priority is no priority");
    Item restored = item;
    restored.first_row = first;
    items_.Add(restored);
  }
  if (!IsPriority(state.max_priority())) return absl::DataLossError("the highest priority is no priority");
  if (has_own_rows()) {
    RETURN_IF_ERROR(chunks_.writers.Restore(writers, rows));
    chunks_.writers.set_lost_chunks(state.lost_chunks());
    chunks_.inserted_steps = state.inserted_steps();
    chunks_.durable_steps = chunks_.inserted_steps;
  } else if (!writers.empty()) {
    return absl::DataLossError("a table over another has writers");
  }
  inserted_items_ = state.inserted_items();
  sampled_items_ = state.sampled_items();
  sampled_steps_ = state.sampled_steps();
  lost_items_ = state.lost_items();
  items_.set_removed(state.removed_items());
  items_.set_max_priority(std::max(items_.max_priority(), state.max_priority()));
  priority_updates_ = state.priority_updates();
  unknown_priority_keys_ = state.unknown_priority_keys();
  // Nobody has granted anything yet in this life.
  insert_limit_ = std::max(insert_limit_, chunks_.inserted_steps);
  return absl::OkStatus();
}

void Table::ReleaseRestored(std::span<const RowStore::Address> rows) {
  MutexLock lock(&chunks_.mutex);
  for (const RowStore::Address row : rows) chunks_.rows.Release(row);
}

}  // namespace headrace
