// How a table takes chunks in.
#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "replay/lane.h"
#include "replay/table.h"

namespace headrace {

absl::StatusOr<Table::Outcome> Table::Insert(uint64_t id, uint64_t session, const v1::ChunkHeader& chunk,
                                             const ChunkPayload& payload, Waiter retry,
                                             absl::FunctionRef<uint64_t()> committed) {
  const CellSizes cells(chunk.cell_bytes().data(), static_cast<size_t>(chunk.cell_bytes_size()));
  size_t rows = 0;
  for (const v1::Segment& segment : chunk.segments()) rows += segment.rows();
  const absl::Status sizes = CheckSizes(payload, chunks_.layout, rows, cells);
  // Before anything is removed to make room for it.
  if (sizes.ok()) RETURN_IF_ERROR(CheckNumbers(payload, chunks_.layout, rows, cells));
  ChunkSize size;
  std::vector<RowStore::Address> reserved;
  std::byte* cell_block = nullptr;
  std::vector<Callback> due;
  Outcome outcome = Outcome::kDone;
  {
    MutexLock lock(&chunks_.mutex);
    ASSIGN_OR_RETURN(Writer * writer, chunks_.writers.Find(id, session));
    if (chunk.sequence() == 0) return absl::InvalidArgumentError("expected chunks that are numbered from 1, got 0");
    if (chunk.sequence() <= writer->last_sequence) return Outcome::kDone;  // a repetition after a reconnect
    if (chunk.sequence() != writer->last_sequence + 1) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected chunk %d next, got %d", writer->last_sequence + 1, chunk.sequence()));
    }
    ASSIGN_OR_RETURN(size, CheckChunk(*writer, chunk, chunks_.specs));
    RETURN_IF_ERROR(sizes);
    RETURN_IF_ERROR(CheckQueues(chunk));
    if (StepsToLimitLocked() == 0) {
      outcome = Outcome::kWait;
    } else {
      const size_t cell_bytes = payload.bytes() - size.rows * chunks_.layout.fixed_bytes();
      ASSIGN_OR_RETURN(outcome, MakeRoom(size.rows, cell_bytes, reserved, cell_block));
    }
    if (outcome == Outcome::kDone) {
      for (const v1::ItemRun& run : chunk.items()) {
        Table& table = TableFor(run);
        table.AssertLocked();
        table.uncommitted_items_ += run.count();
      }
    }
    if (outcome == Outcome::kWait) {
      chunks_.waiting_writers.Add(retry.owner, size.steps, std::move(retry.wake));
      due = TakeDueWatches(true);
      // What these are told lacks the steps that are not durable: they are told again when those are.
      if (!chunks_.not_durable.empty()) chunks_.not_durable.back().tell_all = true;
    }
  }
  WakeAll(due);
  if (outcome == Outcome::kWait) return outcome;

  ScatterChunk(payload, chunks_.layout, cells, reserved, chunks_.rows, cell_block);

  std::vector<Callback> samplers;
  {
    MutexLock lock(&chunks_.mutex);
    for (const v1::ItemRun& run : chunk.items()) {
      Table& table = TableFor(run);
      table.AssertLocked();
      table.uncommitted_items_ -= run.count();
    }
    const absl::StatusOr<Writer*> writer = chunks_.writers.Find(id, session);
    if (!writer.ok()) {
      for (const RowStore::Address row : reserved) chunks_.rows.Release(row);
      return writer.status();
    }
    Commit(**writer, chunk, size, reserved);
    chunks_.waiting_writers.Remove(retry.owner);
    samplers = TakeWaitingSamplers();
    // Where items come without a step, nobody who counts steps would hear of them.
    const bool tell_all = size.steps == 0 && size.items > 0;
    chunks_.not_durable.push_back(
        {.journal_entry = committed(), .inserted_steps = chunks_.inserted_steps, .tell_all = tell_all});
    due = TakeDurable();
  }
  WakeAll(samplers);
  WakeAll(due);
  return Outcome::kDone;
}

absl::StatusOr<Table::Outcome> Table::MakeRoom(size_t rows, size_t cell_bytes, std::vector<RowStore::Address>& reserved,
                                               std::byte*& cell_block) {
  if (!chunks_.rows.CanHold(rows, cell_bytes)) {  // before anything is removed for it
    return absl::FailedPreconditionError(
        absl::StrFormat("a chunk of %d rows%s does not fit into the budget of %d bytes of table \"%s\"", rows,
                        cell_bytes == 0 ? "" : absl::StrFormat(" with cells of %d bytes", cell_bytes),
                        spec_.max_bytes(), spec_.name()));
  }
  const auto reserve = [&]() -> absl::StatusOr<RowStore::Room> {
    try {
      return chunks_.rows.Reserve(rows, cell_bytes, reserved, cell_block);
    } catch (const std::bad_alloc&) {  // rows have their memory from the start, cells have not
      return absl::ResourceExhaustedError(absl::StrFormat("there is no memory left for cells of %d bytes", cell_bytes));
    }
  };
  while (true) {
    ASSIGN_OR_RETURN(const RowStore::Room room, reserve());
    switch (room) {
      case RowStore::Room::kReserved:
        return Outcome::kDone;
      case RowStore::Room::kHeldBack:
        return Outcome::kWait;
      case RowStore::Room::kFull:
        break;
    }
    const size_t before = chunks_.rows.used_slabs();
    // The oldest slab may have had more items than others. Where rows lie singly, many may be half of two items' still.
    size_t patience = chunks_.rows.singly() ? before / 16 + 16 : 1;
    while (chunks_.rows.used_slabs() == before) {
      const bool removed = RemoveOldItems();
      if (chunks_.rows.used_slabs() < before) break;
      if (removed && patience > 0) {
        --patience;
        continue;
      }
      // A single row that a lane may still refer to keeps its slab: better lose what a writer that says nothing or is
      // gone might add to it than all items, or an item of a queue, which nobody has had.
      WriterBook& writers = chunks_.writers;
      if (writers.ForgetIdleLanes() || writers.ForgetOldestLanes() || removed || RemoveFromQueues()) continue;
      return absl::FailedPreconditionError(absl::StrFormat(
          "a chunk of %d rows finds no place: the budget of %d bytes of table \"%s\" is taken by rows that later items "
          "of its writers may refer to",
          rows, spec_.max_bytes(), spec_.name()));
    }
  }
}

bool Table::RemoveOldItems() {
  const size_t slabs = chunks_.rows.used_slabs();
  std::vector<Table*> tables;
  for (Table* const table : chunks_.tables) {
    if (!table->spec_.queue()) tables.push_back(table);
  }
  const auto has_more = [](const Table* a, const Table* b) {
    a->AssertLocked();
    b->AssertLocked();
    return a->items_.size() > b->items_.size();
  };
  std::stable_sort(tables.begin(), tables.end(), has_more);
  bool removed = false;
  for (Table* const table : tables) {
    table->AssertLocked();
    size_t left = table->items_.size() == 0 ? 0 : table->items_.size() / slabs + 1;
    for (; left > 0 && table->items_.size() > 0 && chunks_.rows.used_slabs() == slabs; --left) {
      table->RemoveForBytes();
      removed = true;
    }
  }
  return removed;
}

bool Table::RemoveFromQueues() {
  for (Table* const table : chunks_.tables) {
    table->AssertLocked();
    if (!table->spec_.queue() || table->items_.size() == 0) continue;
    table->RemoveForBytes();
    return true;
  }
  return false;
}

void Table::RemoveForBytes() {
  items_.RemoveOne(removal_random_);
  ++budget_removed_items_;
}

Table& Table::TableFor(const v1::ItemRun& run) const { return *chunks_.tables[TableOf(run, chunks_.specs)]; }

absl::Status Table::CheckQueues(const v1::ChunkHeader& chunk) const {
  for (const Table* const table : chunks_.tables) {
    const v1::TableSpec& spec = table->spec_;
    if (!spec.queue()) continue;
    table->AssertLocked();
    uint64_t items = 0;
    for (const v1::ItemRun& run : chunk.items()) items += &TableFor(run) == table ? run.count() : 0;
    if (items > table->items_.capacity() - spec.max_items()) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "a chunk of %d items does not fit into the queue \"%s\" of %d", items, spec.name(), spec.max_items()));
    }
  }
  return absl::OkStatus();
}

void Table::Commit(Writer& writer, const v1::ChunkHeader& chunk, const ChunkSize& size,
                   std::span<const RowStore::Address> reserved) {
  for (const v1::Segment& segment : chunk.segments()) {
    AppendSegment(writer.LaneOf(segment.lane()), segment, reserved.first(segment.rows()));
    reserved = reserved.subspan(segment.rows());
  }
  for (const v1::ItemRun& run : chunk.items()) {
    Table& table = TableFor(run);
    table.AssertLocked();
    table.AddItems(writer.LaneOf(run.lane()), run);
  }
  // Only now, when all items have found their rows, are those let go that no later item can have.
  for (const v1::Segment& segment : chunk.segments()) {
    Lane& lane = writer.LaneOf(segment.lane());
    const uint64_t needed_from = spec_.items_span_episodes() ? 0
                                 : lane.in_episode           ? lane.episode_first_row
                                                             : lane.next_row;
    const uint64_t too_many = lane.window.size() - std::min<uint64_t>(lane.window.size(), spec_.max_item_rows());
    const uint64_t too_old = std::max(needed_from, lane.first_row()) - lane.first_row();
    const auto kept = lane.window.begin() + static_cast<ptrdiff_t>(std::max(too_many, too_old));
    std::for_each(lane.window.begin(), kept, [this](RowStore::Address row) { chunks_.rows.Release(row); });
    lane.window.erase(lane.window.begin(), kept);
  }
  writer.PruneLanes();
  writer.last_sequence = chunk.sequence();
  chunks_.inserted_steps += size.steps;
}

void Table::AppendSegment(Lane& lane, const v1::Segment& segment, std::span<const RowStore::Address> rows) {
  if (lane.broken) {
    lane.broken = false;
    lane.lost_before = FirstUsableRow(segment, spec_);
    lane.episode_first_row = segment.first_row();
  }
  if (segment.episode_start()) lane.episode_first_row = segment.first_row();
  uint64_t age = segment.first_row() - lane.episode_first_row;
  for (const RowStore::Address row : rows) {
    if (!lane.window.empty()) chunks_.rows.SetNext(lane.window.back(), row);
    lane.window.push_back(row);
    if (spec_.context_rows() > 0) chunks_.rows.SetAge(row, age++);
  }
  lane.next_row = segment.first_row() + segment.rows();
  lane.in_episode = segment.end() == v1::NOT_ENDED;
}

void Table::AddItems(const Lane& lane, const v1::ItemRun& run) {
  for (uint32_t i = 0; i < run.count(); ++i) {
    const uint64_t first_row = run.first_row() + static_cast<uint64_t>(i) * run.stride();
    // The lane's rows before the first that is left went when room was needed while nothing came for it.
    const uint64_t context = ContextOf(lane, first_row);
    if (first_row < lane.lost_before || lane.window.empty() || first_row < lane.first_row() + context) {
      ++lost_items_;
      continue;
    }
    if (items_.size() == items_.capacity()) {
      // Less than max_items: the budget has no place for more books.
      items_.capacity() < spec_.max_items() ? RemoveForBytes() : items_.RemoveOne(removal_random_);
    }
    items_.Add({.first_row = lane.window[first_row - context - lane.first_row()],
                .context = static_cast<uint8_t>(context),
                .rows = static_cast<uint16_t>(run.rows()),
                .priority = run.priorities().empty() ? items_.max_priority() : run.priorities(static_cast<int>(i))});
    ++inserted_items_;
  }
}

uint32_t Table::ContextOf(const Lane& lane, uint64_t row) const {
  if (spec_.context_rows() == 0 || lane.window.empty() || row < lane.first_row()) return 0;
  return std::min(spec_.context_rows(), RowStore::Age(chunks_.rows.Row(lane.window[row - lane.first_row()])));
}

uint64_t Table::StepsToLimit() const {
  MutexLock lock(&chunks_.mutex);
  return StepsToLimitLocked();
}

uint64_t Table::StepsToLimitLocked() const {
  uint64_t steps = UINT64_MAX;
  if (!chunks_.limited) return steps;
  for (const Table* const table : chunks_.tables) {
    table->AssertLocked();
    steps = std::min({steps, table->GrantedSteps(), table->QueuedSteps()});
  }
  return steps;
}

bool Table::AllHaveGranted() const {
  return std::all_of(chunks_.tables.begin(), chunks_.tables.end(), [](const Table* table) {
    table->AssertLocked();
    return table->GrantedSteps() > 0;
  });
}

uint64_t Table::GrantedSteps() const { return insert_limit_ - std::min(insert_limit_, chunks_.inserted_steps); }

uint64_t Table::QueuedSteps() const {
  if (!spec_.queue()) return UINT64_MAX;
  const uint64_t items = items_.size() + uncommitted_items_;
  const uint64_t free_items = spec_.max_items() - std::min<uint64_t>(spec_.max_items(), items);
  return free_items * std::max<uint64_t>(1, spec_.max_item_rows() - 1);
}

}  // namespace headrace
