// A run that goes on with another number of shards: each of them takes its share of what the shards of a checkpoint
// held, whole episodes at a time.
//
//   replay-0/NAME.replay ─┬─▶ pieces: rows that items hold together ──▶ those of this shard's turn ──▶ Table
//   replay-1/NAME.replay ─┘
//
// Pieces are dealt out in turn, beginning with another shard for each file, so that every shard knows by itself which
// are its own.
#ifndef HEADRACE_REPLAY_REDISTRIBUTION_H_
#define HEADRACE_REPLAY_REDISTRIBUTION_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "proto/replay.pb.h"
#include "replay/table.h"

namespace headrace {

// The same, with the places where the files are now: beside the checkpoints of this shard, in `checkpoint_directory`,
// if they are there, because the directory of a run may have been moved or copied since they were written.
v1::Redistribution FindFiles(v1::Redistribution redistribution, const std::string& checkpoint_directory);

// Fills `table`, which is new, with the share of shard number `shard`. What it has no room for is left out, the oldest
// first, and logged. Where the files of others cannot be read, since they lie on other machines, the share is all of
// this shard's own. Writers begin anew: those of the checkpoint have ended. InvalidArgument: expected at least one
// share, and this shard to be of them. Unimplemented: the table is over another one, and is left as it is. DataLoss:
// this shard's own file is not there, or a file does not fit together; the table is then of no use.
absl::Status TakeShare(const v1::Redistribution& redistribution, const std::string& run_id, uint32_t shard,
                       Table& table);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_REDISTRIBUTION_H_
