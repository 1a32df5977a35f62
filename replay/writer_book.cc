#include "replay/writer_book.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"

namespace headrace {
namespace {

// What writers that are gone had committed is remembered for long; their lanes, which take more memory, of as many
// environments as a run may have.
constexpr size_t kMaxDisconnectedWriters = 1 << 16;
constexpr size_t kMaxDisconnectedLanes = 1 << 17;  // 20 MB

}  // namespace

WriterBook::Opened WriterBook::Open(uint64_t id, uint64_t first_sequence) {
  const auto [entry, is_new] = writers_.try_emplace(id);
  Writer& writer = entry->second;
  if (!is_new && !writer.connected) {
    std::erase(disconnected_, id);
    if (std::erase(disconnected_lanes_, id) > 0) lanes_of_disconnected_ -= writer.lanes.size();
  }
  if (!writer.connected) ++connected_;
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

void WriterBook::Close(uint64_t id, uint64_t session) {
  const auto writer = writers_.find(id);
  if (writer != writers_.end() && writer->second.session == session) Disconnect(id, writer->second);
}

void WriterBook::Disconnect(uint64_t id, Writer& writer) {
  if (!writer.connected) return;
  writer.connected = false;
  --connected_;
  disconnected_.push_back(id);
  if (!writer.lanes.empty()) {
    disconnected_lanes_.push_back(id);
    lanes_of_disconnected_ += writer.lanes.size();
  }
  while (lanes_of_disconnected_ > kMaxDisconnectedLanes && ForgetOldestLanes()) {
  }
  if (disconnected_.size() > kMaxDisconnectedWriters) {
    const uint64_t oldest = disconnected_.front();
    disconnected_.pop_front();
    // If its lanes are known, they are the oldest, too.
    if (!disconnected_lanes_.empty() && disconnected_lanes_.front() == oldest) ForgetOldestLanes();
    writers_.erase(oldest);
  }
}

absl::StatusOr<Writer*> WriterBook::Find(uint64_t id, uint64_t session) {
  const auto found = writers_.find(id);
  if (found == writers_.end() || found->second.session != session) {
    return absl::AbortedError("a newer stream of this writer took over");
  }
  if (!found->second.connected) return absl::AbortedError("the writer's stream has ended");
  return &found->second;
}

void WriterBook::Release(const Lane& lane) {
  for (const RowStore::Address row : lane.window) rows_->Release(row);
}

// The lanes go on with whatever row comes next; items that reach back before it are lost.
void WriterBook::ForgetLanes(Writer& writer) {
  for (const auto& [number, lane] : writer.lanes) Release(lane);
  writer.lanes.clear();
  writer.lanes_forgotten = true;
}

bool WriterBook::ForgetIdleLanes() {
  const uint64_t opened = rows_->opened_slabs();
  const auto is_idle = [&](uint64_t newest_row) { return opened - newest_row > rows_->used_slabs() / 2 + 1; };
  if (!is_idle(no_newest_row_before_)) return false;
  uint64_t oldest = opened;
  for (const auto& [id, writer] : writers_) {
    for (const auto& [number, lane] : writer.lanes) {
      if (!lane.window.empty()) oldest = std::min(oldest, rows_->OpenedBefore(lane.window.back()));
    }
  }
  no_newest_row_before_ = oldest;
  if (!is_idle(oldest)) return false;
  for (auto& [id, writer] : writers_) {
    const size_t forgotten = absl::erase_if(writer.lanes, [&](const auto& entry) {
      const Lane& lane = entry.second;
      if (lane.window.empty() || rows_->OpenedBefore(lane.window.back()) > oldest) return false;
      Release(lane);
      return true;
    });
    if (!writer.connected) lanes_of_disconnected_ -= forgotten;
    writer.lanes_forgotten |= forgotten > 0;
  }
  return true;
}

bool WriterBook::ForgetOldestLanes() {
  if (disconnected_lanes_.empty()) return false;
  Writer& writer = writers_[disconnected_lanes_.front()];
  lanes_of_disconnected_ -= writer.lanes.size();
  ForgetLanes(writer);
  disconnected_lanes_.pop_front();
  return true;
}

std::vector<WriterBook::Progress> WriterBook::AllProgress() const {
  std::vector<Progress> all;
  all.reserve(writers_.size());
  for (const auto& [id, writer] : writers_) all.push_back({id, writer.last_sequence, writer.lost_chunks});
  return all;
}

WriterBook::Saved WriterBook::Save() const {
  Saved saved;
  saved.writers_.reserve(writers_.size());
  size_t lanes = 0;
  for (const auto& [id, writer] : writers_) lanes += writer.lanes.size();
  saved.lanes_.reserve(lanes);
  for (const auto& [id, writer] : writers_) {
    saved.writers_.push_back(
        {id, writer.last_sequence, writer.lost_chunks, writer.lanes_forgotten, writer.lanes.size()});
    for (const auto& [number, lane] : writer.lanes) {
      saved.lanes_.push_back({number, lane.window.size(), lane});
      saved.windows_.insert(saved.windows_.end(), lane.window.begin(), lane.window.end());
    }
  }
  return saved;
}

std::vector<v1::WriterCheckpoint> WriterBook::Saved::ToMessages(const std::string& table) const {
  std::vector<v1::WriterCheckpoint> messages;
  messages.reserve(writers_.size());
  auto lane = lanes_.begin();
  auto row = windows_.begin();
  for (const SavedWriter& writer : writers_) {
    v1::WriterCheckpoint& message = messages.emplace_back();
    message.set_table(table);
    message.set_writer(writer.id);
    message.set_last_sequence(writer.last_sequence);
    message.set_lost_chunks(writer.lost_chunks);
    message.set_lanes_forgotten(writer.lanes_forgotten);
    for (size_t i = 0; i < writer.lanes; ++i, ++lane) {
      v1::LaneCheckpoint& saved = *message.add_lanes();
      saved.set_lane(lane->number);
      saved.set_next_row(lane->progress.next_row);
      saved.set_episode_first_row(lane->progress.episode_first_row);
      saved.set_in_episode(lane->progress.in_episode);
      saved.set_lost_before(lane->progress.lost_before);
      saved.set_broken(lane->progress.broken);
      saved.mutable_window()->Assign(row, row + static_cast<ptrdiff_t>(lane->window_size));
      row += static_cast<ptrdiff_t>(lane->window_size);
    }
  }
  return messages;
}

absl::Status WriterBook::Restore(const std::vector<v1::WriterCheckpoint>& writers,
                                 std::span<const RowStore::Address> rows) {
  RowSet newest_rows;
  for (const v1::WriterCheckpoint& saved : writers) RETURN_IF_ERROR(RestoreWriter(saved, rows, newest_rows));
  return absl::OkStatus();
}

absl::Status WriterBook::RestoreWriter(const v1::WriterCheckpoint& saved, std::span<const RowStore::Address> rows,
                                       RowSet& newest_rows) {
  const auto [entry, is_new] = writers_.try_emplace(saved.writer());
  if (!is_new) return absl::DataLossError("a writer is there twice");
  Writer& writer = entry->second;
  writer.last_sequence = saved.last_sequence();
  writer.lost_chunks = saved.lost_chunks();
  // Older files tell it by the chunks alone.
  writer.lanes_forgotten = saved.lanes_forgotten() || saved.lost_chunks() > 0;
  disconnected_.push_back(saved.writer());
  for (const v1::LaneCheckpoint& saved_lane : saved.lanes()) {
    ASSIGN_OR_RETURN(Lane lane, RestoreLane(saved_lane, rows));
    // The row that comes next is linked to the newest one; were it another lane's newest, items would lose theirs.
    if (!lane.window.empty() && !newest_rows.insert(lane.window.back()).second) {
      return absl::DataLossError("two lanes have the same newest row");
    }
    if (!writer.lanes.try_emplace(saved_lane.lane(), std::move(lane)).second) {
      return absl::DataLossError("a lane is there twice");
    }
  }
  if (!writer.lanes.empty()) {
    disconnected_lanes_.push_back(saved.writer());
    lanes_of_disconnected_ += writer.lanes.size();
  }
  return absl::OkStatus();
}

absl::StatusOr<Lane> WriterBook::RestoreLane(const v1::LaneCheckpoint& saved, std::span<const RowStore::Address> rows) {
  Lane lane;
  lane.next_row = saved.next_row();
  lane.episode_first_row = saved.episode_first_row();
  lane.in_episode = saved.in_episode();
  lane.lost_before = saved.lost_before();
  lane.broken = saved.broken();
  for (const uint64_t number : saved.window()) {
    if (number >= rows.size()) return absl::DataLossError("a lane's row is missing");
    if (!lane.window.empty() && rows_->Next(lane.window.back()) != rows[number]) {
      return absl::DataLossError("a lane's rows do not follow each other");
    }
    rows_->Reference(rows[number]);
    lane.window.push_back(rows[number]);
  }
  if (lane.next_row < lane.window.size()) return absl::DataLossError("a lane has more rows than it had");
  if (lane.in_episode && lane.episode_first_row > lane.next_row) {
    return absl::DataLossError("a lane's episode starts after its newest row");
  }
  if (!lane.window.empty() && rows_->Next(lane.window.back()) != RowStore::kNoRow) {
    return absl::DataLossError("a lane's newest row is not its last");
  }
  return lane;
}

}  // namespace headrace
