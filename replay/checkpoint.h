// A shard's checkpoint: one file with everything its tables hold, taken while it serves. docs/formats/replay.md
// describes the bytes.
//
// Thread-safe, but one checkpoint at a time for each directory.
#ifndef HEADRACE_REPLAY_CHECKPOINT_H_
#define HEADRACE_REPLAY_CHECKPOINT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "proto/replay.pb.h"
#include "replay/shard.h"

namespace headrace {

// Writes DIRECTORY/NAME.replay atomically, then removes what CheckpointRequest does not keep. InvalidArgument: the name
// has other characters than letters, digits, '-' and '_'. ResourceExhausted: the disk is full; older files are
// untouched.
absl::StatusOr<v1::CheckpointResponse> WriteCheckpoint(const Shard& shard, const std::string& directory,
                                                       const v1::CheckpointRequest& request);

// At the end of a life: a checkpoint named after it, unless the newest one is its own or the one it began with, and has
// everything. Of other lives' ends only the one it began with stays; a learner's checkpoints all do. Returns its name;
// empty: nothing was written. Errors are those of WriteCheckpoint.
absl::StatusOr<std::string> WriteLastCheckpoint(const Shard& shard, const std::string& directory);

// Fills `shard`, which has no tables yet, from the newest file that is whole; damaged ones are reported and passed
// over. Then comes what journal files hold of what followed it. Returns the name of the checkpoint; empty: there is
// none. Cancelled: `interrupted`, which is asked all the time, said so. ResourceExhausted: what a whole file holds has
// no place here. After either the shard is of no use.
absl::StatusOr<std::string> RestoreNewest(
    const std::string& directory, Shard& shard, absl::FunctionRef<bool()> interrupted = [] { return false; });

// The highest that a checkpoint of this directory names; 0: none does.
uint64_t NewestJournalFile(const std::string& directory);

// What a shard without a directory has in its place: later lives have higher ones.
uint64_t ClockIncarnation();
// An incarnation higher than any that this directory has seen, remembered there before it is returned.
absl::StatusOr<uint64_t> NextIncarnation(const std::string& directory);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_CHECKPOINT_H_
