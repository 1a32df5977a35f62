#include "replay/table.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

// Writers that are gone are remembered in case they come back: what they had committed for long, their lanes, which
// take more memory, of as many as a run may have actors.
constexpr size_t kMaxDisconnectedWriters = 1 << 16;
constexpr size_t kMaxDisconnectedLanes = 1 << 12;
constexpr uint64_t kQueueOverhang = 1024;  // items

void RunAll(const std::vector<Table::Callback>& callbacks) {
  for (const Table::Callback& callback : callbacks) callback();
}

void RunAll(const absl::flat_hash_map<const void*, Table::Callback>& callbacks) {
  for (const auto& [owner, callback] : callbacks) callback();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> Table::Create(const v1::TableSpec& spec, uint32_t shard, uint64_t incarnation) {
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrFormat("table \"%s\": %s", spec.name(), why));
  };
  if (spec.name().empty()) return refuse("expected a name");
  absl::StatusOr<RowLayout> layout = RowLayout::Create(spec.signature(), spec.context_rows() > 0);
  if (!layout.ok()) return refuse(std::string(layout.status().message()));
  for (const v1::Selector selector : {spec.sampler(), spec.remover()}) {
    if (MakeSelector(selector, 0) == nullptr) return refuse(absl::StrFormat("unknown selector %d", selector));
  }
  if (spec.max_item_rows() == 0 || spec.max_item_rows() > ItemStore::kMaxRows) {
    return refuse(
        absl::StrFormat("expected max_item_rows from 1 to %d, got %d", ItemStore::kMaxRows, spec.max_item_rows()));
  }
  if (spec.context_rows() > ItemStore::kMaxContext || spec.context_rows() >= spec.max_item_rows()) {
    return refuse(absl::StrFormat("expected context_rows up to %d and below max_item_rows, which is %d, got %d",
                                  ItemStore::kMaxContext, spec.max_item_rows(), spec.context_rows()));
  }
  if (!(spec.priority_exponent() >= 0) || std::isinf(spec.priority_exponent())) {
    return refuse(
        absl::StrFormat("expected a finite priority_exponent of 0 or more, got %g", spec.priority_exponent()));
  }
  if (spec.max_times_sampled() > ItemStore::kMaxTimesSampled) {
    return refuse(absl::StrFormat("expected max_times_sampled up to %d, got %d", ItemStore::kMaxTimesSampled,
                                  spec.max_times_sampled()));
  }
  const uint64_t bytes_per_item = layout->stride() + ItemStore::kBookBytes;
  const uint64_t fitting = spec.max_bytes() / bytes_per_item;
  // A queue's last chunk may bring more items than there was place for.
  const uint64_t wanted = spec.queue() ? 2 * spec.max_items() + kQueueOverhang : spec.max_items();
  const uint64_t items = std::min<uint64_t>(wanted > 0 ? std::min(wanted, fitting) : fitting, UINT32_MAX - 1);
  const uint64_t row_bytes = spec.max_bytes() - std::min(spec.max_bytes(), items * ItemStore::kBookBytes);
  if (items == 0 || row_bytes / layout->stride() < 2 * spec.max_item_rows()) {
    return refuse(absl::StrFormat("a budget of %d bytes holds less than two items of %d rows of %d bytes",
                                  spec.max_bytes(), spec.max_item_rows(), layout->stride()));
  }
  if (spec.queue()) {
    if (spec.max_items() == 0 || spec.max_times_sampled() == 0) {
      return refuse("a queue needs max_items and max_times_sampled above 0: nothing else makes room in it");
    }
    const uint64_t rows = row_bytes / layout->stride();
    if (spec.max_items() >= items || rows / spec.max_item_rows() < 2 * spec.max_items()) {
      return refuse(
          absl::StrFormat("a budget of %d bytes does not hold twice a queue's %d items of %d rows of %d bytes",
                          spec.max_bytes(), spec.max_items(), spec.max_item_rows(), layout->stride()));
    }
  }
  if (spec.min_items() > items) {
    return refuse(absl::StrFormat("min_items is %d, but the budget of %d bytes holds only %d items", spec.min_items(),
                                  spec.max_bytes(), items));
  }
  try {
    return std::unique_ptr<Table>(new Table(spec, *std::move(layout), items, row_bytes, shard, incarnation));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("table \"%s\": this machine has no address space for %d bytes", spec.name(), spec.max_bytes()));
  }
}

Table::Table(const v1::TableSpec& spec, RowLayout layout, size_t item_capacity, uint64_t row_bytes, uint32_t shard,
             uint64_t incarnation)
    : spec_(spec),
      layout_(std::move(layout)),
      incarnation_(incarnation),
      rows_(layout_.stride(), row_bytes),
      items_(spec, item_capacity, &rows_),
      removal_random_(incarnation, StreamRole::kReplay, shard, StreamPurpose::kRemoval),
      insert_limit_(spec.initial_insert_limit()) {}

v1::TableState Table::State() const {
  MutexLock lock(&mutex_);
  return StateLocked();
}

v1::TableState Table::StateLocked() const {
  v1::TableState state;
  state.set_table(spec_.name());
  state.set_items(items_.size());
  state.set_inserted_items(inserted_items_);
  state.set_inserted_steps(inserted_steps_);
  state.set_sampled_items(sampled_items_);
  state.set_sampled_steps(sampled_steps_);
  state.set_removed_items(items_.removed());
  state.set_stored_bytes(rows_.stored_bytes() + items_.size() * ItemStore::kBookBytes);
  state.set_mass(items_.mass());
  state.set_blocked_writers(static_cast<uint32_t>(waiting_writers_.size()));
  state.set_insert_limit(insert_limit_);
  state.set_lost_chunks(lost_chunks_);
  state.set_lost_items(lost_items_);
  state.set_max_priority(items_.max_priority());
  state.set_priority_updates(priority_updates_);
  state.set_unknown_priority_keys(unknown_priority_keys_);
  state.set_drawable_items(items_.drawable());
  state.set_incarnation(incarnation_);
  state.set_writers(connected_writers_);
  return state;
}

std::vector<v1::WriterInfo> Table::Writers() const {
  MutexLock lock(&mutex_);
  std::vector<v1::WriterInfo> infos;
  for (const auto& [id, writer] : writers_) {
    v1::WriterInfo& info = infos.emplace_back();
    info.set_writer(id);
    info.set_last_sequence(writer.last_sequence);
    info.set_lost_chunks(writer.lost_chunks);
  }
  return infos;
}

Table::OpenedWriter Table::OpenWriter(uint64_t id, uint64_t first_sequence) {
  MutexLock lock(&mutex_);
  Writer& writer = writers_[id];
  std::erase(disconnected_, id);
  std::erase(disconnected_lanes_, id);
  if (!writer.connected) ++connected_writers_;
  writer.connected = true;
  writer.session = next_session_++;
  if (first_sequence > writer.last_sequence + 1) {
    const uint64_t lost = first_sequence - writer.last_sequence - 1;
    writer.lost_chunks += lost;
    lost_chunks_ += lost;
    writer.last_sequence = first_sequence - 1;
    ForgetLanes(writer);
  }
  return {writer.session, writer.last_sequence};
}

void Table::CloseWriter(uint64_t id, uint64_t session) {
  MutexLock lock(&mutex_);
  const auto writer = writers_.find(id);
  if (writer != writers_.end() && writer->second.session == session) Disconnect(id, writer->second);
}

void Table::Disconnect(uint64_t id, Writer& writer) {
  if (!writer.connected) return;
  writer.connected = false;
  --connected_writers_;
  disconnected_.push_back(id);
  if (!writer.lanes.empty()) disconnected_lanes_.push_back(id);
  if (disconnected_lanes_.size() > kMaxDisconnectedLanes) ForgetOldestLanes();
  if (disconnected_.size() > kMaxDisconnectedWriters) {
    writers_.erase(disconnected_.front());
    disconnected_.pop_front();
  }
}

// The lanes go on with whatever row comes next; items that reach back before it are lost.
void Table::ForgetLanes(Writer& writer) {
  for (const auto& [number, lane] : writer.lanes) {
    for (const RowStore::Address row : lane.window) rows_.Release(row);
  }
  writer.lanes.clear();
  writer.lanes_forgotten = true;
}

// Of the writers that are gone; those of writers that are here must stay.
bool Table::ForgetOldestLanes() {
  if (disconnected_lanes_.empty()) return false;
  ForgetLanes(writers_[disconnected_lanes_.front()]);
  disconnected_lanes_.pop_front();
  return true;
}

absl::StatusOr<Writer*> Table::FindWriter(uint64_t id, uint64_t session) {
  const auto found = writers_.find(id);
  if (found == writers_.end() || found->second.session != session) {
    return absl::AbortedError("a newer stream of this writer took over");
  }
  return &found->second;
}

absl::StatusOr<Table::Outcome> Table::Insert(uint64_t id, uint64_t session, const v1::ChunkHeader& chunk,
                                             google::protobuf::io::CodedInputStream& payload, size_t payload_bytes,
                                             Waiter retry, absl::FunctionRef<void()> committed) {
  ChunkSize size;
  std::vector<RowStore::Address> reserved;
  std::vector<Callback> due;
  Outcome outcome = Outcome::kDone;
  {
    MutexLock lock(&mutex_);
    ASSIGN_OR_RETURN(Writer * writer, FindWriter(id, session));
    if (chunk.sequence() <= writer->last_sequence) return Outcome::kDone;  // a repetition after a reconnect
    if (chunk.sequence() != writer->last_sequence + 1) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected chunk %d next, got %d", writer->last_sequence + 1, chunk.sequence()));
    }
    ASSIGN_OR_RETURN(size, CheckChunk(*writer, chunk, spec_));
    if (payload_bytes != size.rows * layout_.payload_bytes()) {
      return absl::InvalidArgumentError(absl::StrFormat("expected %d bytes for %d rows of %d, got %d",
                                                        size.rows * layout_.payload_bytes(), size.rows,
                                                        layout_.payload_bytes(), payload_bytes));
    }
    if (spec_.queue() && size.items > items_.capacity() - spec_.max_items()) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "a chunk of %d items does not fit into the queue \"%s\" of %d", size.items, spec_.name(), spec_.max_items()));
    }
    if (StepsToLimitLocked() == 0) {
      outcome = Outcome::kWait;
    } else {
      ASSIGN_OR_RETURN(outcome, MakeRoom(size, reserved));
    }
    if (outcome == Outcome::kDone) uncommitted_items_ += size.items;
    if (outcome == Outcome::kWait) {
      waiting_writers_.Add(retry.owner, size.steps, std::move(retry.wake));
      due = TakeDueWatches(true);
    }
  }
  RunAll(due);
  if (outcome == Outcome::kWait) return outcome;

  absl::Status copied = ScatterChunk(payload, layout_, reserved, rows_);

  Callbacks samplers;
  {
    MutexLock lock(&mutex_);
    uncommitted_items_ -= size.items;
    absl::StatusOr<Writer*> writer = FindWriter(id, session);
    if (copied.ok()) copied = writer.status();
    if (!copied.ok()) {
      for (const RowStore::Address row : reserved) rows_.Release(row);
      return copied;
    }
    Commit(**writer, chunk, size, reserved);
    committed();
    waiting_writers_.Remove(retry.owner);
    samplers.swap(waiting_samplers_);
    // Where items come without a step, nobody who counts steps would hear of them.
    due = TakeDueWatches(size.steps == 0 && size.items > 0);
  }
  RunAll(samplers);
  RunAll(due);
  return Outcome::kDone;
}

absl::StatusOr<Table::Outcome> Table::MakeRoom(const ChunkSize& size, std::vector<RowStore::Address>& reserved) {
  const auto too_large = [&] {
    return absl::ResourceExhaustedError(
        absl::StrFormat("a chunk of %d rows does not fit into the budget of %d bytes of table \"%s\"", size.rows,
                        spec_.max_bytes(), spec_.name()));
  };
  if (size.rows > rows_.max_rows()) return too_large();  // before anything is removed for it
  while (true) {
    switch (rows_.Reserve(size.rows, reserved)) {
      case RowStore::Room::kReserved:
        return Outcome::kDone;
      case RowStore::Room::kHeldBack:
        return Outcome::kWait;
      case RowStore::Room::kFull:
        break;
    }
    const size_t before = rows_.used_slabs();
    const size_t items_of_a_slab = items_.size() / before + 1;
    size_t removed = 0;
    while (rows_.used_slabs() == before) {
      if (spec_.queue() && ForgetOldestLanes()) continue;  // an item that nobody has had is worth more
      if (items_.size() > 0 && removed < items_of_a_slab) {
        items_.RemoveOne(removal_random_);
        ++removed;
        continue;
      }
      // A single row that a lane may still refer to keeps its slab: better lose what a writer that is gone might add to
      // it than all items.
      if (!ForgetOldestLanes() && items_.size() == 0) return too_large();
      removed = 0;
    }
  }
}

void Table::Commit(Writer& writer, const v1::ChunkHeader& chunk, const ChunkSize& size,
                   std::span<const RowStore::Address> reserved) {
  for (const v1::Segment& segment : chunk.segments()) {
    auto lane = writer.lanes.find(segment.lane());
    if (lane == writer.lanes.end()) {
      lane = writer.lanes.emplace(segment.lane(), Lane{.broken = writer.lanes_forgotten}).first;
    }
    AppendSegment(lane->second, segment, reserved.first(segment.rows()));
    reserved = reserved.subspan(segment.rows());
  }
  for (const v1::ItemRun& run : chunk.items()) AddItems(writer.lanes[run.lane()], run);
  // Only now, when all items have found their rows, are those let go that no later item can have.
  for (const v1::Segment& segment : chunk.segments()) {
    Lane& lane = writer.lanes[segment.lane()];
    const uint64_t needed_from = spec_.items_span_episodes() ? 0
                                 : lane.in_episode           ? lane.episode_first_row
                                                             : lane.next_row;
    while (lane.window.size() > spec_.max_item_rows() || lane.first_row() < needed_from) {
      rows_.Release(lane.window.front());
      lane.window.pop_front();
    }
  }
  writer.last_sequence = chunk.sequence();
  inserted_steps_ += size.steps;
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
    if (!lane.window.empty()) rows_.SetNext(lane.window.back(), row);
    lane.window.push_back(row);
    if (spec_.context_rows() > 0) rows_.SetAge(row, age++);
  }
  lane.next_row = segment.first_row() + segment.rows();
  lane.in_episode = segment.end() == v1::NOT_ENDED;
}

void Table::AddItems(const Lane& lane, const v1::ItemRun& run) {
  for (uint32_t i = 0; i < run.count(); ++i) {
    const uint64_t first_row = run.first_row() + static_cast<uint64_t>(i) * run.stride();
    // The lane's rows before the first that is left went when room was needed while its writer was away.
    const uint64_t context = ContextOf(lane, first_row);
    if (first_row < lane.lost_before || lane.window.empty() || first_row < lane.first_row() + context) {
      ++lost_items_;
      continue;
    }
    if (items_.size() == items_.capacity()) items_.RemoveOne(removal_random_);
    items_.Add({.first_row = lane.window[first_row - context - lane.first_row()],
                .context = static_cast<uint8_t>(context),
                .rows = static_cast<uint16_t>(run.rows()),
                .priority = run.priorities().empty() ? items_.max_priority() : run.priorities(static_cast<int>(i))});
    ++inserted_items_;
  }
}

uint32_t Table::ContextOf(const Lane& lane, uint64_t row) const {
  if (spec_.context_rows() == 0 || lane.window.empty() || row < lane.first_row()) return 0;
  return std::min(spec_.context_rows(), RowStore::Age(rows_.Row(lane.window[row - lane.first_row()])));
}

std::vector<Table::Callback> Table::TakeAdmittedWriters() { return waiting_writers_.Take(StepsToLimitLocked()); }

uint64_t Table::StepsToLimit() const {
  MutexLock lock(&mutex_);
  return StepsToLimitLocked();
}

uint64_t Table::StepsToLimitLocked() const {
  const uint64_t granted = insert_limit_ - std::min(insert_limit_, inserted_steps_);
  if (!spec_.queue()) return granted;
  const uint64_t items = items_.size() + uncommitted_items_;
  const uint64_t free_items = spec_.max_items() - std::min<uint64_t>(spec_.max_items(), items);
  return std::min(granted, free_items * std::max<uint64_t>(1, spec_.max_item_rows() - 1));
}

Table::Outcome Table::Acknowledge(Waiter retry) {
  MutexLock lock(&mutex_);
  if (!spec_.lockstep() || inserted_steps_ < insert_limit_) return Outcome::kDone;
  waiting_acknowledgements_[retry.owner] = std::move(retry.wake);
  return Outcome::kWait;
}

absl::StatusOr<Table::Outcome> Table::Sample(const Draw& draw, Batch& batch, Waiter retry) {
  MutexLock lock(&mutex_);
  if (draw.distinct && draw.batch_size > items_.capacity()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected batches without replacement of up to the %d items that table \"%s\" can hold, got %d",
                        items_.capacity(), spec_.name(), draw.batch_size));
  }
  const bool need_all = draw.distinct || spec_.max_times_sampled() > 0;
  const uint64_t needed = std::max<uint64_t>({1, spec_.min_items(), need_all ? draw.batch_size : 1});
  if (items_.drawable() < needed) {
    waiting_samplers_[retry.owner] = std::move(retry.wake);
    return Outcome::kWait;
  }
  if (items_.least_rows() < draw.rows_needed) {
    return absl::InvalidArgumentError(absl::StrFormat("expected slices within items of %d rows, got row %d",
                                                      items_.least_rows(), draw.rows_needed - 1));
  }
  RandomStream random(draw.random_key);
  batch.table_ = this;
  batch.read_ = rows_.BeginRead();
  batch.items_.resize(draw.batch_size);
  items_.Sample(random, draw.distinct, batch.items_);
  sampled_items_ += draw.batch_size;
  for (const ItemStore::Drawn& item : batch.items_) {
    sampled_steps_ += std::max(item.rows - 1, 1);
  }
  batch.state_ = StateLocked();
  return Outcome::kDone;
}

Table::Batch& Table::Batch::operator=(Batch&& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(read_, other.read_);
  items_.swap(other.items_);
  state_.Swap(&other.state_);
  return *this;
}

Table::Batch::~Batch() {
  if (table_ == nullptr) return;
  std::vector<Callback> writers;
  {
    MutexLock lock(&table_->mutex_);
    table_->rows_.EndRead(read_);
    writers = table_->TakeAdmittedWriters();  // they may wait for slabs that this read held back
  }
  RunAll(writers);
}

absl::StatusOr<Table::PriorityUpdate> Table::UpdatePriorities(uint64_t incarnation, std::span<const uint64_t> keys,
                                                              std::span<const float> priorities) {
  if (keys.size() != priorities.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected a priority for each of %d keys, got %d", keys.size(), priorities.size()));
  }
  const auto wrong = std::find_if_not(priorities.begin(), priorities.end(), IsPriority);
  if (wrong != priorities.end()) {
    return absl::InvalidArgumentError(absl::StrFormat("expected finite priorities of 0 or more, got %g for key %d",
                                                      *wrong, wrong - priorities.begin()));
  }
  PriorityUpdate update;
  Callbacks samplers;
  {
    MutexLock lock(&mutex_);
    for (size_t i = 0; i < keys.size() && incarnation == incarnation_; ++i) {
      update.updated += items_.SetPriority(keys[i], priorities[i]);
    }
    update.unknown = keys.size() - update.updated;
    priority_updates_ += update.updated;
    unknown_priority_keys_ += update.unknown;
    samplers.swap(waiting_samplers_);  // they may wait for an item whose priority is not 0
  }
  RunAll(samplers);
  return update;
}

void Table::SetInsertLimit(uint64_t insert_limit, uint64_t policy_version) {
  std::vector<Callback> writers;
  Callbacks acknowledgements;
  {
    MutexLock lock(&mutex_);
    insert_limit_ = insert_limit;
    policy_version_ = policy_version;
    writers = TakeAdmittedWriters();
    if (inserted_steps_ < insert_limit_) acknowledgements.swap(waiting_acknowledgements_);
  }
  RunAll(acknowledgements);
  RunAll(writers);
}

void Table::WatchOnce(uint64_t inserted_steps, Waiter watcher) {
  {
    MutexLock lock(&mutex_);
    watches_.erase(watcher.owner);
    if (inserted_steps_ < inserted_steps) {
      watches_[watcher.owner] = {inserted_steps, std::move(watcher.wake)};
      return;
    }
  }
  watcher.wake();
}

void Table::StopWaiting(const void* owner) {
  std::vector<Callback> writers;
  {
    MutexLock lock(&mutex_);
    waiting_writers_.Remove(owner);
    waiting_acknowledgements_.erase(owner);
    waiting_samplers_.erase(owner);
    watches_.erase(owner);
    writers = TakeAdmittedWriters();  // it may have been woken for steps that it does not take now
  }
  RunAll(writers);
}

std::vector<Table::Callback> Table::TakeDueWatches(bool all) {
  std::vector<Callback> due;
  const uint64_t inserted_steps = inserted_steps_;
  absl::erase_if(watches_, [&](auto& watch) {
    if (!all && inserted_steps < watch.second.inserted_steps) return false;
    due.push_back(std::move(watch.second.callback));
    return true;
  });
  return due;
}

}  // namespace headrace
