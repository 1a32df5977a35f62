// Writes experience to one shard, exactly once.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<ReplayWriter> writer, ReplayWriter::Start(options));
//   writer->Append(lane, columns, v1::NOT_ENDED);
//   writer->Append(lane, final_observation, v1::TERMINATED);
//   RETURN_IF_ERROR(writer->Send(deadline));          // at the end of each (vectorised) environment step
//
// Rows leave in numbered chunks. At once when nothing is on its way and nothing left in the last millisecond; otherwise
// together with what comes until then, or until the chunk is full. Chunks are kept until acknowledged and sent again
// after a reconnect. The window of what is not acknowledged is bounded in bytes, and in rows by the room that the shard
// says it has; Send waits while it is full: that is how a full queue or a closed rate limiter reaches the environment
// loop. A shard that is gone is tried again with growing pauses, for ever, and so is its address where another shard
// answers there; replay/moving_writer.h goes on elsewhere.
//
// Thread-safety: Append and Send belong to one thread; the rest may be called from any.
#ifndef HEADRACE_REPLAY_WRITER_H_
#define HEADRACE_REPLAY_WRITER_H_

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/client_stream.h"
#include "common/kept_connection.h"
#include "common/mutex.h"
#include "grpcpp/channel.h"
#include "proto/replay.pb.h"
#include "replay/chunk_builder.h"
#include "replay/row_writer.h"

namespace headrace {

struct ReplayWriterOptions {
  std::string address;
  v1::Peer peer;
  uint64_t writer = 0;  // unique among all writers of the run
  std::string table;
  v1::Signature signature;
  ItemPattern pattern;
  std::vector<TablePattern> others;  // tables over that one, which get items of the same rows
  uint32_t chunk_rows = 64;  // are sent when there are so many; while the connection is busy, chunks become larger
  uint64_t window_bytes = 4 << 20;
  bool lockstep = false;  // Send waits until everything is acknowledged
};

class ReplayWriter final : public RowWriter {
 public:
  // Connects in the background. InvalidArgument: the signature is not usable.
  static absl::StatusOr<std::unique_ptr<ReplayWriter>> Start(const ReplayWriterOptions& options);
  // What was not acknowledged is dropped: Drain first.
  ~ReplayWriter() override;

  void Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Send(Deadline deadline) override ABSL_LOCKS_EXCLUDED(mutex_);
  // See ChunkBuilder; a table that does not look at priorities does not mind them. One that is not finite, or negative,
  // is refused by the shard.
  void SetPriority(std::optional<float> priority) ABSL_LOCKS_EXCLUDED(mutex_);
  // Sends everything and waits until it is acknowledged.
  absl::Status Drain(Deadline deadline) override ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends all waits, now and later.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);

  // The shard has answered, and the connection has not been lost since.
  bool connected() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Nothing that was appended is still to be acknowledged.
  bool empty() const ABSL_LOCKS_EXCLUDED(mutex_);

  bool HasRoom() const override ABSL_LOCKS_EXCLUDED(mutex_);
  // The newest InsertResponse.policy_version.
  uint64_t policy_version() const override ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t unacknowledged_bytes() const override ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t sent_bytes() const override ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t reconnects() const override { return connection_.reconnects(); }

 private:
  struct Chunk {
    uint64_t sequence;
    size_t rows;
    grpc::Slice message;
  };

  ReplayWriter(const ReplayWriterOptions& options, RowLayout layout);

  absl::Status OpenStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void CloseStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void SendHeldRows() ABSL_LOCKS_EXCLUDED(mutex_);
  void Opened(const v1::InsertResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnMessage(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_);
  void SendChunk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendIfDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(uint64_t acknowledged) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Fault() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Late(const std::string& what) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WindowHasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MayGoOn() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ReplayWriterOptions options_;
  const size_t chunk_rows_;  // that are sent at once
  const size_t most_rows_;   // of a chunk that had to wait
  const std::shared_ptr<grpc::Channel> channel_;

  mutable Mutex mutex_;
  ConditionVariable changed_;  // for callers that wait
  ConditionVariable held_;     // for the thread that sends held rows
  ChunkBuilder builder_ ABSL_GUARDED_BY(mutex_);
  std::deque<Chunk> window_ ABSL_GUARDED_BY(mutex_);  // not acknowledged, oldest first
  uint64_t window_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t window_rows_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t sent_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t room_ ABSL_GUARDED_BY(mutex_) = 0;  // the newest InsertResponse.room
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 1;
  Deadline last_sent_ ABSL_GUARDED_BY(mutex_){};
  bool holding_ ABSL_GUARDED_BY(mutex_) = false;  // rows that a thread must come back to
  uint64_t policy_version_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<uint32_t> shard_ ABSL_GUARDED_BY(mutex_);  // that answered first: no other is sent anything
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;            // the shard has answered InsertOpen on this stream
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status trouble_ ABSL_GUARDED_BY(mutex_);  // why there is no connection; OK since the shard has answered
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> stream_ ABSL_GUARDED_BY(mutex_);

  std::thread holder_;
  KeptConnection connection_;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_WRITER_H_
