#include "replay/moving_writer.h"

#include <utility>

#include "common/log.h"
#include "common/random.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookInterval{100};

}  // namespace

absl::StatusOr<std::unique_ptr<MovingWriter>> MovingWriter::Start(MovingWriterOptions options) {
  std::unique_ptr<MovingWriter> writer(new MovingWriter(std::move(options)));
  RETURN_IF_ERROR(writer->StartAt(writer->current_));
  return writer;
}

MovingWriter::MovingWriter(MovingWriterOptions options)
    : options_(std::move(options)),
      writers_(options_.addresses.size()),
      current_(options_.home),
      target_(options_.home) {}

absl::Status MovingWriter::StartAt(size_t shard) {
  ReplayWriterOptions options = options_.writer;
  options.address = options_.addresses[shard];
  options.writer = RandomId();
  ASSIGN_OR_RETURN(writers_[shard], ReplayWriter::Start(options));
  return absl::OkStatus();
}

void MovingWriter::Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end) {
  writers_[current_]->Append(lane, columns, end);
}

absl::Status MovingWriter::Send(Deadline deadline) { return writers_[current_]->Send(deadline); }

absl::Status MovingWriter::Drain(Deadline deadline) {
  // First those that can: for one that is away all the time may pass.
  for (const auto& writer : writers_) {
    if (writer != nullptr && writer->connected()) writer->Drain(deadline).IgnoreError();
  }
  // Then all: meanwhile one may have come back, and not have everything yet.
  absl::Status status;
  for (const auto& writer : writers_) {
    if (writer != nullptr) status.Update(writer->Drain(deadline));
  }
  return status;
}

bool MovingWriter::ShouldMove() {
  const Deadline now = Clock::now();
  if (writers_.size() == 1 || now < next_look_) return false;
  next_look_ = now + kLookInterval;
  ForgetIdleWriters();
  if (current_ != options_.home && writers_[options_.home]->connected()) {
    target_ = options_.home;
    return true;
  }
  if (writers_[current_]->connected()) {
    away_since_.reset();
    return false;
  }
  if (!away_since_.has_value()) away_since_ = now;
  if (now - *away_since_ < options_.patience) return false;
  const std::optional<size_t> another = FindAnother();
  target_ = another.value_or(current_);
  return another.has_value();
}

std::optional<size_t> MovingWriter::FindAnother() {
  const size_t others = writers_.size() - 1;
  for (size_t i = 0; i < others; ++i) {
    const size_t shard = (options_.home + 1 + (options_.second + i) % others) % writers_.size();
    if (shard == current_) continue;
    if (writers_[shard] == nullptr) {
      // It answers by the next time that somebody looks, or another one is asked as well.
      if (const absl::Status status = StartAt(shard); !status.ok()) LogError("%s", status.ToString());
      return std::nullopt;
    }
    if (writers_[shard]->connected()) return shard;
  }
  return std::nullopt;
}

void MovingWriter::Move() {
  if (target_ == options_.home) {
    LogInfo("the replay shard at %s is back: experience goes there again", options_.addresses[target_]);
  } else {
    LogWarning("the replay shard at %s is away: experience goes to the one at %s", options_.addresses[current_],
               options_.addresses[target_]);
  }
  current_ = target_;
  away_since_.reset();
}

void MovingWriter::ForgetIdleWriters() {
  for (size_t shard = 0; shard < writers_.size(); ++shard) {
    std::unique_ptr<ReplayWriter>& writer = writers_[shard];
    const bool needed = shard == current_ || shard == options_.home || away_since_.has_value();
    if (needed || writer == nullptr || !writer->empty()) continue;
    forgotten_sent_bytes_ += writer->sent_bytes();
    forgotten_reconnects_ += writer->reconnects();
    writer.reset();
  }
}

bool MovingWriter::HasRoom() const { return writers_[current_]->HasRoom(); }

uint64_t MovingWriter::policy_version() const { return writers_[current_]->policy_version(); }

uint64_t MovingWriter::unacknowledged_bytes() const {
  uint64_t bytes = 0;
  for (const auto& writer : writers_) bytes += writer == nullptr ? 0 : writer->unacknowledged_bytes();
  return bytes;
}

uint64_t MovingWriter::sent_bytes() const {
  uint64_t bytes = forgotten_sent_bytes_;
  for (const auto& writer : writers_) bytes += writer == nullptr ? 0 : writer->sent_bytes();
  return bytes;
}

uint64_t MovingWriter::reconnects() const {
  uint64_t reconnects = forgotten_reconnects_;
  for (const auto& writer : writers_) reconnects += writer == nullptr ? 0 : writer->reconnects();
  return reconnects;
}

}  // namespace headrace
