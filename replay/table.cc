#include "replay/table.h"

#include <algorithm>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr size_t kKeysAtATime = 1024;  // whose priorities are set before others have the mutex

}  // namespace

absl::StatusOr<std::unique_ptr<Table>> Table::Create(const v1::TableSpec& spec, uint32_t shard, uint64_t incarnation,
                                                     const Table* over) {
  std::optional<RowsTable> rows;
  if (over != nullptr) rows = {&over->spec_, over->rows().sure_rows(), over->rows().singly()};
  ASSIGN_OR_RETURN(TablePlan plan, PlanTable(spec, rows.has_value() ? &*rows : nullptr));
  try {
    std::shared_ptr<ChunkStore> chunks =
        over == nullptr ? std::make_shared<ChunkStore>(std::move(plan.layout), plan.row_bytes, plan.rows_singly)
                        : over->owned_chunks_;
    std::unique_ptr<Table> table(new Table(spec, plan.item_capacity, shard, incarnation, std::move(chunks)));
    if (over == nullptr) table->Join();
    return table;
  } catch (const std::bad_alloc&) {
    return absl::FailedPreconditionError(
        absl::StrFormat("table \"%s\": this machine has no address space for %d bytes", spec.name(), spec.max_bytes()));
  }
}

Table::Table(const v1::TableSpec& spec, size_t item_capacity, uint32_t shard, uint64_t incarnation,
             std::shared_ptr<ChunkStore> chunks)
    : spec_(spec),
      incarnation_(incarnation),
      owned_chunks_(std::move(chunks)),
      chunks_(*owned_chunks_),
      items_(spec, item_capacity, &chunks_.rows),
      removal_random_(incarnation, StreamRole::kReplay, shard, StreamPurpose::kRemoval),
      insert_limit_(spec.initial_insert_limit()) {}

void Table::Join() {
  MutexLock lock(&chunks_.mutex);
  chunks_.tables.push_back(this);
  chunks_.specs.push_back(&spec_);
}

void Table::WakeAll(const std::vector<Callback>& waiting) {
  for (const Callback& wake : waiting) wake();
}

void Table::WakeAll(const Callbacks& waiting) {
  for (const auto& [owner, wake] : waiting) wake();
}

v1::TableState Table::State() const {
  MutexLock lock(&chunks_.mutex);
  return StateLocked();
}

void Table::BeginLife() {
  MutexLock lock(&chunks_.mutex);
  restored_state_ = StateLocked();
}

v1::TableState Table::RestoredState() const {
  MutexLock lock(&chunks_.mutex);
  return restored_state_;
}

uint64_t Table::BudgetRemovedItems() const {
  MutexLock lock(&chunks_.mutex);
  return budget_removed_items_;
}

v1::TableState Table::StateLocked() const {
  v1::TableState state;
  state.set_table(spec_.name());
  state.set_items(items_.size());
  state.set_inserted_items(inserted_items_);
  state.set_inserted_steps(chunks_.durable_steps);
  state.set_sampled_items(sampled_items_);
  state.set_sampled_steps(sampled_steps_);
  state.set_removed_items(items_.removed());
  state.set_stored_bytes((has_own_rows() ? chunks_.rows.stored_bytes() : 0) +
                         items_.size() * ItemStore::BookBytes(spec_.sampler(), spec_.remover()));
  state.set_mass(items_.mass());
  state.set_blocked_writers(static_cast<uint32_t>(chunks_.waiting_writers.size()));
  state.set_insert_limit(insert_limit_);
  state.set_lost_chunks(chunks_.writers.lost_chunks());
  state.set_lost_items(lost_items_);
  state.set_max_priority(items_.max_priority());
  state.set_priority_updates(priority_updates_);
  state.set_unknown_priority_keys(unknown_priority_keys_);
  state.set_drawable_items(items_.drawable());
  state.set_incarnation(incarnation_);
  state.set_writers(chunks_.writers.connected());
  if (items_.size() > 0) {
    const RowStore::Stay stay = chunks_.rows.StayOf(items_.oldest_row());
    state.set_oldest_seconds(stay.seconds);
    state.set_oldest_rows(stay.rows);
  }
  return state;
}

std::vector<v1::WriterInfo> Table::Writers() const {
  std::vector<WriterBook::Progress> all;
  {
    MutexLock lock(&chunks_.mutex);
    all = chunks_.writers.AllProgress();
  }
  std::vector<v1::WriterInfo> infos(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    infos[i].set_writer(all[i].id);
    infos[i].set_last_sequence(all[i].last_sequence);
    infos[i].set_lost_chunks(all[i].lost_chunks);
  }
  return infos;
}

Table::OpenedWriter Table::OpenWriter(uint64_t id, uint64_t first_sequence) {
  HEADRACE_CHECK(has_own_rows());
  MutexLock lock(&chunks_.mutex);
  return chunks_.writers.Open(id, first_sequence);
}

void Table::CloseWriter(uint64_t id, uint64_t session) {
  MutexLock lock(&chunks_.mutex);
  chunks_.writers.Close(id, session);
}

Table::Outcome Table::Acknowledge(Waiter retry) {
  MutexLock lock(&chunks_.mutex);
  if (!spec_.lockstep() || AllHaveGranted()) return Outcome::kDone;
  chunks_.waiting_acknowledgements[retry.owner] = std::move(retry.wake);
  return Outcome::kWait;
}

std::vector<Table::Callback> Table::TakeWaitingSamplers() {
  std::vector<Callback> samplers;
  for (Table* const table : chunks_.tables) {
    table->AssertLocked();
    for (auto& [owner, wake] : table->waiting_samplers_) samplers.push_back(std::move(wake));
    table->waiting_samplers_.clear();
  }
  return samplers;
}

std::vector<Table::Callback> Table::TakeAdmittedWriters() { return chunks_.waiting_writers.Take(StepsToLimitLocked()); }

absl::StatusOr<Table::Outcome> Table::Sample(const Draw& draw, Batch& batch, Waiter retry) {
  MutexLock lock(&chunks_.mutex);
  if (draw.distinct && draw.batch_size > items_.capacity()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected batches without replacement of up to the %d items that table \"%s\" can hold, got %d",
                        items_.capacity(), spec_.name(), draw.batch_size));
  }
  const bool need_all = draw.distinct || spec_.max_times_sampled() > 0;
  if (items_.size() < spec_.min_items() || items_.drawable() < std::max(1u, need_all ? draw.batch_size : 1)) {
    waiting_samplers_[retry.owner] = std::move(retry.wake);
    return Outcome::kWait;
  }
  if (items_.least_rows() < draw.rows_needed) {
    return absl::InvalidArgumentError(absl::StrFormat("expected slices within items of %d rows, got row %d",
                                                      items_.least_rows(), draw.rows_needed - 1));
  }
  RandomStream random(draw.random_key);
  batch.table_ = this;
  batch.read_ = chunks_.rows.BeginRead();
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
    MutexLock lock(&table_->chunks_.mutex);
    table_->chunks_.rows.EndRead(read_);
    writers = table_->TakeAdmittedWriters();  // they may wait for slabs that this read held back
  }
  WakeAll(writers);
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
                                                      *wrong, keys[wrong - priorities.begin()]));
  }
  PriorityUpdate update;
  Callbacks samplers;
  for (size_t first = 0; first < keys.size(); first += kKeysAtATime) {
    if (first > 0) std::this_thread::sleep_for(kLetOthersIn);
    const size_t count = std::min(kKeysAtATime, keys.size() - first);
    uint64_t updated = 0;
    MutexLock lock(&chunks_.mutex);
    for (size_t i = first; i < first + count && incarnation == incarnation_; ++i) {
      updated += items_.SetPriority(keys[i], priorities[i]);
    }
    update.updated += updated;
    update.unknown += count - updated;
    priority_updates_ += updated;
    unknown_priority_keys_ += count - updated;
    if (first + count == keys.size()) samplers.swap(waiting_samplers_);  // they may wait for one that is not 0
  }
  WakeAll(samplers);
  return update;
}

void Table::SetInsertLimit(uint64_t insert_limit, uint64_t policy_version) {
  std::vector<Callback> writers;
  Callbacks acknowledgements;
  {
    MutexLock lock(&chunks_.mutex);
    insert_limit_ = insert_limit;
    policy_version_ = policy_version;
    for (const Table* const table : chunks_.tables) {
      table->AssertLocked();
      policy_version = std::max(policy_version, table->policy_version_);
    }
    chunks_.policy_version = policy_version;
    writers = TakeAdmittedWriters();
    if (AllHaveGranted()) acknowledgements.swap(chunks_.waiting_acknowledgements);
  }
  WakeAll(acknowledgements);
  WakeAll(writers);
}

void Table::SetLimited(bool limited) {
  MutexLock lock(&chunks_.mutex);
  chunks_.limited = limited;
}

void Table::WatchOnce(uint64_t inserted_steps, Waiter watcher) {
  {
    MutexLock lock(&chunks_.mutex);
    chunks_.watches.erase(watcher.owner);
    if (chunks_.durable_steps < inserted_steps) {
      chunks_.watches[watcher.owner] = {inserted_steps, std::move(watcher.wake)};
      return;
    }
  }
  watcher.wake();
}

void Table::StopWaiting(const void* owner) {
  std::vector<Callback> writers;
  {
    MutexLock lock(&chunks_.mutex);
    chunks_.waiting_writers.Remove(owner);
    chunks_.waiting_acknowledgements.erase(owner);
    waiting_samplers_.erase(owner);
    chunks_.watches.erase(owner);
    writers = TakeAdmittedWriters();  // it may have been woken for steps that it does not take now
  }
  WakeAll(writers);
}

void Table::SetDurable(uint64_t journal_entries) {
  std::vector<Callback> due;
  {
    MutexLock lock(&chunks_.mutex);
    chunks_.durable_entries = journal_entries;
    due = TakeDurable();
  }
  WakeAll(due);
}

std::vector<Table::Callback> Table::TakeDurable() {
  bool tell_all = false;
  for (; !chunks_.not_durable.empty() && chunks_.not_durable.front().journal_entry <= chunks_.durable_entries;
       chunks_.not_durable.pop_front()) {
    chunks_.durable_steps = chunks_.not_durable.front().inserted_steps;
    tell_all |= chunks_.not_durable.front().tell_all;
  }
  return TakeDueWatches(tell_all);
}

std::vector<Table::Callback> Table::TakeDueWatches(bool all) {
  std::vector<Callback> due;
  const uint64_t durable_steps = chunks_.durable_steps;
  absl::erase_if(chunks_.watches, [&](auto& watch) {
    if (!all && durable_steps < watch.second.inserted_steps) return false;
    due.push_back(std::move(watch.second.callback));
    return true;
  });
  return due;
}

}  // namespace headrace
