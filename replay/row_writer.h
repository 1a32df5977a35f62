// Where an actor's experience goes, row by row: to a replay shard (replay/writer.h), or into the updates of an actor
// that learns by itself.
#ifndef HEADRACE_REPLAY_ROW_WRITER_H_
#define HEADRACE_REPLAY_ROW_WRITER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "proto/replay.pb.h"

namespace headrace {

class RowWriter {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  virtual ~RowWriter() = default;

  // One row of a lane: for each column of the signature its bytes. With an `end` it is an episode's final row.
  virtual void Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end) = 0;
  // Hands on what may be handed on, then waits for room. DeadlineExceeded: there was none in time (and why, if there is
  // no connection); nothing is lost, call again. Cancelled: the wait was given up. Otherwise what the receiver refused
  // the rows with: it will not recover.
  virtual absl::Status Send(Deadline deadline) = 0;
  // Hands on everything that has an end, and waits until it is taken. The same errors.
  virtual absl::Status Drain(Deadline deadline) = 0;
  // Whether Send would return at once.
  virtual bool HasRoom() const = 0;
  // In lockstep: of the policy with which the actor is to go on.
  virtual uint64_t policy_version() const = 0;
  virtual uint64_t unacknowledged_bytes() const = 0;
  // In all; what was sent again on another connection counts once.
  virtual uint64_t sent_bytes() const = 0;
  // How often the connection was made again.
  virtual uint64_t reconnects() const = 0;
  // Whether rows should go elsewhere from now on: then cut every lane's episode (v1::CUT), and call Move.
  virtual bool ShouldMove() { return false; }
  virtual void Move() {}
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_ROW_WRITER_H_
