#include "replay/sampler.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "replay/row_layout.h"
#include "replay/wire.h"

namespace headrace {
namespace {

absl::Status CheckOptions(const ReplaySamplerOptions& options) {
  if (options.addresses.empty()) return absl::InvalidArgumentError("expected the address of at least one replay shard");
  if (options.batch_size == 0) return absl::InvalidArgumentError("expected a batch size above 0");
  if (options.slots.empty() || options.slices.empty()) {
    return absl::InvalidArgumentError("expected at least one slot and one slice");
  }
  if (const uint64_t most = options.addresses.size() * options.table.max_items();
      options.without_replacement && most > 0 && options.batch_size > most) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "expected batches without replacement of up to the %d items that %d shards of %d can hold, got %d", most,
        options.addresses.size(), options.table.max_items(), options.batch_size));
  }
  ASSIGN_OR_RETURN(const RowLayout layout, RowLayout::Create(options.table.signature()));
  for (size_t i = 0; i < options.slices.size(); ++i) {
    const v1::ColumnSlice& slice = options.slices[i];
    const int column = layout.Find(slice.column());
    if (column < 0) {
      return absl::InvalidArgumentError(absl::StrFormat("the signature has no column \"%s\"", slice.column()));
    }
    const size_t bytes =
        layout.columns()[column].bytes * slice.rows() * std::max(slice.stack(), 1u) * options.batch_size;
    for (const std::vector<std::span<std::byte>>& slot : options.slots) {
      if (slot.size() == options.slices.size() && slot[i].size() == bytes) continue;
      return absl::InvalidArgumentError(absl::StrFormat("expected slots of %d blocks, with %d bytes for column \"%s\"",
                                                        options.slices.size(), bytes, slice.column()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReplaySampler>> ReplaySampler::Start(ReplaySamplerOptions options) {
  RETURN_IF_ERROR(CheckOptions(options));
  std::unique_ptr<ReplaySampler> sampler(new ReplaySampler(std::move(options)));
  ReplaySampler* const raw = sampler.get();
  {
    MutexLock lock(&raw->mutex_);
    for (size_t i = 0; i < raw->options_.addresses.size(); ++i) {
      v1::Redistribution redistribution;
      if (!raw->options_.redistributions.empty()) redistribution = raw->options_.redistributions[i];
      raw->shards_[i].connection = std::make_unique<ShardConnection>(
          ShardConnectionOptions{raw->options_.addresses[i], raw->options_.peer, raw->options_.table,
                                 raw->options_.slices, raw->options_.pad, raw->distinct_, std::move(redistribution)},
          ShardConnection::Callbacks{
              .connected = [raw, i](const v1::CreateTableResponse& created) { raw->OnConnected(i, created); },
              .state = [raw, i](const v1::TableState& state) { raw->OnState(i, state); },
              .sample = [raw, i](const grpc::ByteBuffer& message) { raw->OnSample(i, message); },
              .disconnected =
                  [raw, i](const absl::Status& status, bool final) {
                    raw->OnDisconnected(i, status);
                    if (!final) return;
                    MutexLock lock_fatal(&raw->mutex_);
                    raw->fatal_ = status;
                    raw->ready_.NotifyAll();
                  },
          });
    }
  }
  sampler->talking_ = std::thread([raw] { raw->Talk(); });
  return sampler;
}

ReplaySampler::ReplaySampler(ReplaySamplerOptions options)
    : options_(std::move(options)),
      distinct_(options_.without_replacement && options_.table.max_times_sampled() != 1),
      shards_(options_.addresses.size()),
      env_steps_(options_.env_steps),
      drawn_(options_.batches),
      delivered_(options_.batches),
      updates_(options_.batches) {
  for (size_t slot = options_.slots.size(); slot > 0; --slot) free_slots_.push_back(slot - 1);
  for (const v1::ColumnSlice& slice : options_.slices) {
    const uint32_t stride = std::max(slice.stride(), 1u);
    slice_rows_ = std::max(slice_rows_, static_cast<int32_t>(slice.first_row() + (slice.rows() - 1) * stride + 1));
  }
  origins_.resize(options_.slots.size());
  for (Origins& origins : origins_) {
    origins.keys.resize(options_.batch_size);
    origins.probabilities.resize(options_.batch_size);
    origins.rows.resize(options_.batch_size);
  }
  for (const std::span<std::byte> block : options_.slots.front())
    item_bytes_.push_back(block.size() / options_.batch_size);
  for (size_t i = 0; i < std::min(options_.states.size(), shards_.size()); ++i) {
    shards_[i].state = options_.states[i];
    shards_[i].known = !options_.states[i].table().empty();
  }
}

ReplaySampler::~ReplaySampler() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  talking_.join();
  std::vector<std::unique_ptr<ShardConnection>> connections;
  {
    MutexLock lock(&mutex_);
    for (Shard& shard : shards_) connections.push_back(std::move(shard.connection));
  }
  for (const auto& connection : connections) connection->Stop();  // all at once, before any is waited for
  connections.clear();                                            // outside the mutex: their last callbacks take it
}

void ReplaySampler::Talk() {
  while (true) {
    Outgoing outgoing;
    {
      MutexLock lock(&mutex_);
      while (!ask_ && !stopping_) changed_.Wait(&mutex_);
      if (stopping_) return;
      ask_ = false;
      Ask();
      std::swap(outgoing, outgoing_);
    }
    for (const auto& [shard, request] : outgoing.requests) shard->RequestSample(request);
    for (const auto& [shard, grant] : outgoing.grants) shard->Coordinate(grant);
    for (const auto& [shard, update] : outgoing.priorities) shard->UpdatePriorities(update);
  }
}

void ReplaySampler::Proceed() {
  ask_ = true;
  changed_.NotifyAll();
}

absl::StatusOr<ReplaySampler::Filled> ReplaySampler::Next(Deadline deadline) {
  MutexLock lock(&mutex_);
  const Wait wait = WaitLocked();
  while (true) {
    if (cancelled_) return absl::CancelledError("cancelled");
    if (!fatal_.ok()) return fatal_;
    const auto next = pending_.find(delivered_ + 1);
    if (next != pending_.end() && next->second.missing == 0) {
      const Filled filled = {next->second.slot, next->first, next->second.asked, next->second.there, wait};
      pending_.erase(next);
      ++delivered_;
      return filled;
    }
    if (!ready_.WaitUntil(&mutex_, deadline)) return absl::DeadlineExceededError(WaitingFor());
  }
}

void ReplaySampler::Redraw(const Filled& filled, std::span<const uint32_t> items) {
  MutexLock lock(&mutex_);
  HEADRACE_CHECK(filled.batch == delivered_);
  --delivered_;
  pending_[filled.batch] = {filled.slot, static_cast<uint32_t>(items.size()), ConditionVariable::Clock::now()};
  for (const uint32_t item : items) orphans_.push_back({.batch = filled.batch, .shard = 0, .first = item, .count = 1});
  Proceed();
}

void ReplaySampler::Done(size_t slot, uint64_t policy_version) {
  MutexLock lock(&mutex_);
  free_slots_.push_back(slot);
  ++updates_;
  policy_version_ = policy_version;
  Proceed();
}

void ReplaySampler::Cancel() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  ready_.NotifyAll();
}

void ReplaySampler::UpdateState(size_t number, const v1::TableState& state) {
  Shard& shard = shards_[number];
  const uint64_t before = shard.known ? shard.state.inserted_steps() : 0;
  if (state.inserted_steps() >= before) {
    env_steps_ += state.inserted_steps() - before;
  } else if (state.incarnation() == shard.state.incarnation()) {
    return;  // older than what an answer has told already
  } else {
    uint64_t lost = before - state.inserted_steps();
    if (options_.table.queue()) lost = std::min(lost, before - std::min(before, shard.state.sampled_steps()));
    lost_steps_ += lost;
    if (lost > 0) LogWarning("shard %d came back with %d steps less than it had: they are lost", number, lost);
  }
  shard.state = state;
  shard.known = true;
}

void ReplaySampler::OnConnected(size_t number, const v1::CreateTableResponse& created) {
  MutexLock lock(&mutex_);
  LogInfo("connected to shard %d at %s: %d items", number, options_.addresses[number], created.state().items());
  UpdateState(number, created.state());
  if (options_.checkpoints && !created.writes_checkpoints()) {
    fatal_ = absl::FailedPreconditionError(
        absl::StrFormat("replay shard %d at %s was started without --checkpoint_dir, but checkpoint.replay is true",
                        number, options_.addresses[number]));
  }
  shards_[number].restored_from = created.restored_from();
  shards_[number].connected = true;
  shards_[number].granted = 0;
  shards_[number].notify_at = 0;
  Proceed();
  ready_.NotifyAll();
}

void ReplaySampler::OnState(size_t number, const v1::TableState& state) {
  MutexLock lock(&mutex_);
  UpdateState(number, state);
  Proceed();
}

void ReplaySampler::OnDisconnected(size_t number, const absl::Status& status) {
  MutexLock lock(&mutex_);
  Shard& shard = shards_[number];
  if (shard.connected) {
    LogWarning("shard %d lost: %s", number, status.ToString());
    ++disconnections_;
  }
  shard.connected = false;
  for (auto entry = pieces_.begin(); entry != pieces_.end();) {
    if (entry->second.shard == number) {
      orphans_.push_back(entry->second);
      entry = pieces_.erase(entry);
    } else {
      ++entry;
    }
  }
  Proceed();
}

void ReplaySampler::OnSample(size_t number, const grpc::ByteBuffer& message) {
  // The payload is copied into the slot without the mutex: until its last message the piece belongs to this thread, and
  // the connection's messages come one at a time.
  const uint64_t request = PeekRequest(message);
  std::vector<std::span<std::byte>> blocks;
  {
    MutexLock lock(&mutex_);
    const auto found = pieces_.find(request);
    if (found == pieces_.end()) return;
    const Piece& piece = found->second;
    const size_t slot = pending_.at(piece.batch).slot;
    for (size_t i = 0; i < item_bytes_.size(); ++i) {
      blocks.push_back(options_.slots[slot][i].subspan(piece.first * item_bytes_[i], piece.count * item_bytes_[i]));
    }
  }
  v1::SampleResponse head;
  const absl::Status status = ReadSampleResponse(message, head, blocks);
  MutexLock lock(&mutex_);
  const auto found = pieces_.find(request);
  if (found == pieces_.end()) return;
  if (head.has_state()) {
    // The coordinate stream tells of writers that wait, in order; this answer may be older than what it told last.
    v1::TableState& state = *head.mutable_state();
    state.set_blocked_writers(std::max(state.blocked_writers(), shards_[number].state.blocked_writers()));
    UpdateState(number, state);
  }
  if (!status.ok() || head.status_code() != 0) {
    if (!status.ok() || head.status_code() != static_cast<uint32_t>(absl::StatusCode::kDeadlineExceeded)) {
      LogError("shard %d did not answer a request: %s", number,
               status.ok() ? head.status_message() : status.ToString());
    }
    if (head.status_code() == static_cast<uint32_t>(absl::StatusCode::kInvalidArgument)) {
      fatal_ = absl::InvalidArgumentError(head.status_message());
      ready_.NotifyAll();
    }
    refused_ = head.status_code() == static_cast<uint32_t>(absl::StatusCode::kDeadlineExceeded);
    orphans_.push_back(found->second);
    pieces_.erase(found);
  } else if (head.last()) {
    refused_ = lacks_items_ = false;
    Remember(found->second, head);
    Pending& pending = pending_.at(found->second.batch);
    pending.missing -= found->second.count;
    pieces_.erase(found);
    if (pending.missing == 0) {
      pending.there = ConditionVariable::Clock::now();
      ready_.NotifyAll();
    }
  }
  Proceed();
}

void ReplaySampler::Remember(const Piece& piece, const v1::SampleResponse& head) {
  Origins& origins = origins_[pending_.at(piece.batch).slot];
  const auto count = static_cast<uint32_t>(head.keys_size());
  for (uint32_t i = 0; i < std::min(piece.count, count); ++i) {
    const int item = static_cast<int>(i);
    const double drawn =
        item < head.probabilities_size() ? head.probabilities(item) : 1 / static_cast<double>(head.state().items());
    origins.keys[piece.first + i] = {piece.shard, head.state().incarnation(), head.keys(item)};
    // What was drawn had some probability, also where a float holds none so small.
    origins.probabilities[piece.first + i] =
        piece.share * std::max(drawn, static_cast<double>(std::numeric_limits<float>::min()));
    origins.rows[piece.first + i] = item < head.rows_size() ? static_cast<int32_t>(head.rows(item)) : slice_rows_;
  }
}

void ReplaySampler::UpdatePriorities(size_t slot, std::span<const float> priorities) {
  const std::vector<Origins::Key>& keys = origins_[slot].keys;
  HEADRACE_CHECK(priorities.size() == keys.size());
  std::map<std::pair<size_t, uint64_t>, v1::UpdatePrioritiesRequest> requests;  // by shard and life
  for (size_t i = 0; i < keys.size(); ++i) {
    v1::UpdatePrioritiesRequest& request = requests[{keys[i].shard, keys[i].incarnation}];
    request.add_keys(keys[i].key);
    request.add_priorities(priorities[i]);
  }
  MutexLock lock(&mutex_);
  for (auto& [owner, request] : requests) {
    request.set_incarnation(owner.second);
    outgoing_.priorities.push_back({shards_[owner.first].connection.get(), std::move(request)});
  }
  Proceed();
}

absl::Status ReplaySampler::Fault() const {
  MutexLock lock(&mutex_);
  return fatal_;
}

bool ReplaySampler::WaitConnected(Deadline deadline) {
  MutexLock lock(&mutex_);
  while (!std::all_of(shards_.begin(), shards_.end(), [](const Shard& shard) { return shard.connected; })) {
    if (cancelled_ || !fatal_.ok() || !ready_.WaitUntil(&mutex_, deadline)) return false;
  }
  return true;
}

}  // namespace headrace
