#include "replay/writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "replay/wire.h"

namespace headrace {
namespace {

// Rows are collected up to so many bytes, well below what a message may have.
constexpr size_t kMaxChunkBytes = 4 << 20;
// Chunks of few rows wait so long for more: each costs the two sides as much as some hundred rows do.
constexpr std::chrono::milliseconds kChunkInterval{1};
// While the connection is busy, rows gather up to so many bytes, for the same reason.
constexpr size_t kGatheredBytes = 64 << 10;

// Each row may end an item of each table.
size_t MostRows(const ReplayWriterOptions& options) { return kMaxRowsPerChunk / (1 + options.others.size()); }

}  // namespace

absl::StatusOr<std::unique_ptr<ReplayWriter>> ReplayWriter::Start(const ReplayWriterOptions& options) {
  ASSIGN_OR_RETURN(RowLayout layout, RowLayout::Create(options.signature));
  return std::unique_ptr<ReplayWriter>(new ReplayWriter(options, std::move(layout)));
}

ReplayWriter::ReplayWriter(const ReplayWriterOptions& options, RowLayout layout)
    : options_(options),
      chunk_rows_(std::clamp<size_t>(kMaxChunkBytes / layout.payload_bytes(), 1,
                                     std::min<size_t>(options.chunk_rows, MostRows(options)))),
      most_rows_(std::clamp<size_t>(std::min<uint64_t>(kGatheredBytes, options.window_bytes) / layout.payload_bytes(),
                                    chunk_rows_, MostRows(options))),
      channel_(MakeChannel(options.address)),
      builder_(std::move(layout), options.pattern, options.others),
      holder_([this] { SendHeldRows(); }),
      connection_(absl::StrCat("the replay shard at ", options.address),
                  {.open = [this] { return OpenStream(); },
                   .close = [this] { CloseStream(); },
                   .lost =
                       [this](const absl::Status& status, bool final) {
                         MutexLock lock(&mutex_);
                         trouble_ = status;
                         if (!final) return;
                         fatal_ = status;
                         changed_.NotifyAll();
                       }}) {}

ReplayWriter::~ReplayWriter() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    held_.NotifyAll();
  }
  holder_.join();
}

absl::Status ReplayWriter::OpenStream() {
  v1::InsertRequest request;
  v1::InsertOpen& open = *request.mutable_open();
  *open.mutable_peer() = options_.peer;
  open.set_writer(options_.writer);
  open.set_table(options_.table);
  *open.mutable_signature() = options_.signature;
  std::unique_ptr<ClientStream> stream =
      ClientStream::Open(channel_, "/headrace.v1.Replay/Insert",
                         {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                          .closed = [this](const absl::Status& status) { connection_.Lost(status); },
                          .sent =
                              [this] {
                                MutexLock lock_sent(&mutex_);
                                SendIfDue();
                              }});
  MutexLock lock(&mutex_);
  open.set_first_sequence(window_.empty() ? next_sequence_ : window_.front().sequence);
  stream->Send(ToByteBuffer(request));
  stream_ = std::move(stream);
  return absl::OkStatus();
}

void ReplayWriter::CloseStream() {
  std::unique_ptr<ClientStream> stream;  // destroyed outside the mutex: its last callbacks take it
  MutexLock lock(&mutex_);
  opened_ = false;
  stream = std::move(stream_);
}

void ReplayWriter::SendHeldRows() {
  MutexLock lock(&mutex_);
  while (!stopping_) {
    if (!holding_) {
      held_.Wait(&mutex_);
      continue;
    }
    held_.WaitUntil(&mutex_, last_sent_ + kChunkInterval);
    holding_ = false;
    SendIfDue();
  }
}

void ReplayWriter::OnMessage(const grpc::ByteBuffer& message) {
  v1::InsertResponse response;
  if (!FromByteBuffer(message, response).ok()) return;  // the next one will do
  MutexLock lock(&mutex_);
  if (shard_.has_value() && *shard_ != response.shard()) {
    connection_.Lost(absl::UnavailableError(absl::StrFormat("expected replay shard %d at %s, found shard %d", *shard_,
                                                            options_.address, response.shard())));
    return;
  }
  shard_ = response.shard();
  Forget(response.acknowledged());
  policy_version_ = response.policy_version();
  room_ = response.room();
  if (!opened_) Opened(response);
  SendIfDue();
  changed_.NotifyAll();
}

void ReplayWriter::Opened(const v1::InsertResponse& response) {
  if (stream_ == nullptr) return;  // it is being closed
  opened_ = true;
  trouble_ = absl::OkStatus();
  connection_.Proven();
  if (!window_.empty() && reconnects() > 0) {
    LogInfo("shard %d has chunks up to %d: %d are sent again", response.shard(), response.acknowledged(),
            window_.size());
  }
  for (const Chunk& chunk : window_) stream_->Send(grpc::ByteBuffer(&chunk.message, 1));
}

void ReplayWriter::Forget(uint64_t acknowledged) {
  while (!window_.empty() && window_.front().sequence <= acknowledged) {
    window_bytes_ -= window_.front().message.size();
    window_rows_ -= window_.front().rows;
    window_.pop_front();
  }
}

void ReplayWriter::Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end) {
  MutexLock lock(&mutex_);
  // A step of many environments may be more than one message can hold.
  if (builder_.rows() >= most_rows_) SendChunk();
  builder_.Append(lane, columns, end);
}

void ReplayWriter::SetPriority(std::optional<float> priority) {
  MutexLock lock(&mutex_);
  builder_.SetPriority(priority);
}

void ReplayWriter::SendChunk() {
  const size_t rows = builder_.rows();
  Chunk chunk = {next_sequence_, rows, builder_.Build(next_sequence_)};
  ++next_sequence_;
  window_bytes_ += chunk.message.size();
  sent_bytes_ += chunk.message.size();
  window_rows_ += rows;
  last_sent_ = ConditionVariable::Clock::now();
  if (opened_) stream_->Send(grpc::ByteBuffer(&chunk.message, 1));
  window_.push_back(std::move(chunk));
}

bool ReplayWriter::IsDue() const {
  if (builder_.rows() >= chunk_rows_) return true;
  if (!window_.empty()) return false;
  // Nobody waits while rows are held that the shard could have.
  return builder_.rows() > room_ || ConditionVariable::Clock::now() >= last_sent_ + kChunkInterval;
}

void ReplayWriter::SendIfDue() {
  if (options_.lockstep) return;  // only Drain knows that a step is complete
  if (builder_.rows() == 0 || !WindowHasRoom()) return;
  const bool busy = opened_ && stream_->unsent() > 0;
  if (busy && builder_.rows() < most_rows_) return;  // `sent` comes back to them
  if (IsDue()) {
    SendChunk();
  } else if (window_.empty() && !holding_) {
    // Somebody must come back to these rows, even if no further ones follow.
    holding_ = true;
    held_.NotifyAll();
  }
}

bool ReplayWriter::WindowHasRoom() const { return window_bytes_ < options_.window_bytes && window_rows_ <= room_; }

bool ReplayWriter::MayGoOn() const {
  // Rows that wait for the window count too, or they would pile up behind it.
  return WindowHasRoom() && builder_.rows() < most_rows_ && window_rows_ + builder_.rows() <= room_;
}

absl::Status ReplayWriter::Fault() const {
  if (!fatal_.ok()) return fatal_;
  return cancelled_ ? absl::CancelledError("cancelled") : absl::OkStatus();
}

absl::Status ReplayWriter::Late(const std::string& what) const {
  return absl::DeadlineExceededError(trouble_.ok() ? what : absl::StrCat(what, ": ", trouble_.ToString()));
}

absl::Status ReplayWriter::Send(Deadline deadline) {
  if (options_.lockstep) return Drain(deadline);
  MutexLock lock(&mutex_);
  SendIfDue();
  while (true) {
    RETURN_IF_ERROR(Fault());
    if (MayGoOn()) return absl::OkStatus();
    if (!changed_.WaitUntil(&mutex_, deadline))
      return Late("the shard takes nothing more until samplers have taken more");
    SendIfDue();
  }
}

absl::Status ReplayWriter::Drain(Deadline deadline) {
  MutexLock lock(&mutex_);
  if (builder_.rows() > 0) SendChunk();
  while (!window_.empty()) {
    RETURN_IF_ERROR(Fault());
    if (!changed_.WaitUntil(&mutex_, deadline)) return Late("the shard has not acknowledged");
  }
  return Fault();
}

void ReplayWriter::Cancel() {
  MutexLock lock(&mutex_);
  cancelled_ = true;
  changed_.NotifyAll();
}

bool ReplayWriter::connected() const {
  MutexLock lock(&mutex_);
  return opened_;
}

bool ReplayWriter::empty() const {
  MutexLock lock(&mutex_);
  return window_.empty() && builder_.rows() == 0;
}

bool ReplayWriter::HasRoom() const {
  MutexLock lock(&mutex_);
  return MayGoOn();
}

uint64_t ReplayWriter::policy_version() const {
  MutexLock lock(&mutex_);
  return policy_version_;
}

uint64_t ReplayWriter::unacknowledged_bytes() const {
  MutexLock lock(&mutex_);
  return window_bytes_;
}

uint64_t ReplayWriter::sent_bytes() const {
  MutexLock lock(&mutex_);
  return sent_bytes_;
}

}  // namespace headrace
