// Writes experience to one shard of several; while that is away for long, to another one.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<MovingWriter> writer, MovingWriter::Start(options));
//   writer->Append(...), writer->Send(...);              // as to a ReplayWriter
//   if (writer->ShouldMove()) {
//     ...                                                // append to each lane in an episode a row that is v1::CUT
//     writer->Move();
//   }
//
// A chunk only ever goes to the shard that was first sent it: what a shard that is away has not acknowledged waits for
// it here, up to ReplayWriterOptions.window_bytes, and each time that rows go elsewhere they are a writer's of their
// own. Rows go home once the home shard has answered again, so that shards that came back have their share of the
// actors again.
//
// Not thread-safe.
#ifndef HEADRACE_REPLAY_MOVING_WRITER_H_
#define HEADRACE_REPLAY_MOVING_WRITER_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "replay/row_writer.h"
#include "replay/writer.h"

namespace headrace {

struct MovingWriterOptions {
  ReplayWriterOptions writer;                  // to each of the shards; its `address` and `writer` do not matter
  std::vector<std::string> addresses;          // of all shards, at least one
  size_t home = 0;                             // the shard that is written to whenever it is there
  size_t second = 0;                           // where to look first otherwise, from 0: that after the home shard
  std::chrono::duration<double> patience{10};  // for which the shard must have been away
};

class MovingWriter final : public RowWriter {
 public:
  // InvalidArgument: the signature is not usable.
  static absl::StatusOr<std::unique_ptr<MovingWriter>> Start(MovingWriterOptions options);

  void Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end) override;
  absl::Status Send(Deadline deadline) override;
  // Of what went elsewhere, too.
  absl::Status Drain(Deadline deadline) override;
  bool ShouldMove() override;
  void Move() override;

  bool HasRoom() const override;
  uint64_t policy_version() const override;
  uint64_t unacknowledged_bytes() const override;
  uint64_t sent_bytes() const override;
  uint64_t reconnects() const override;

 private:
  explicit MovingWriter(MovingWriterOptions options);

  absl::Status StartAt(size_t shard);
  // The nearest to home that answers; nullopt: none does so far, and one more is being asked.
  std::optional<size_t> FindAnother();
  void ForgetIdleWriters();

  const MovingWriterOptions options_;
  std::vector<std::unique_ptr<ReplayWriter>> writers_;  // one for each shard; null: none has been needed
  size_t current_;
  size_t target_;  // of the next Move
  Deadline next_look_{};
  std::optional<Deadline> away_since_;  // when the current shard was first found away
  uint64_t forgotten_sent_bytes_ = 0;
  uint64_t forgotten_reconnects_ = 0;
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_MOVING_WRITER_H_
