// A run that goes on with another number of shards: each of them takes its share of what the shards of a checkpoint
// held, whole episodes at a time.
//
//   replay-0/NAME.replay ─┬─▶ pieces: rows that items hold together ──▶ those of this shard's turn ──▶ Table
//   replay-1/NAME.replay ─┘
//
// Pieces of a file are dealt out in turn among the shards that can read it, beginning with another one for each file,
// so that every shard knows by itself which are its own. Who can read what is asked of all before.
#ifndef HEADRACE_REPLAY_REDISTRIBUTION_H_
#define HEADRACE_REPLAY_REDISTRIBUTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/replay.pb.h"
#include "replay/table.h"

namespace headrace {

// The same, with the places where the files are now: beside the checkpoints of this shard, in `checkpoint_directory`,
// if they are there, because the directory of a run may have been moved or copied since they were written.
v1::Redistribution FindFiles(v1::Redistribution redistribution, const std::string& checkpoint_directory);

// InvalidArgument: it names more files, or readers of one, than a run has shards.
absl::Status CheckRedistribution(const v1::Redistribution& redistribution);

// Places of those files that are here, and that checkpoint of that run by that shard. What is at the place of another
// machine's file may be a file of another shard. Damage shows only when all of a file is read.
std::vector<uint32_t> ReadableFiles(const v1::Redistribution& redistribution, const std::string& run_id);

// Fills `table`, which is new, with what of the files is the turn of shard number `shard`. What it has no room for is
// left out, the oldest first, and logged; so is what a file that is damaged held. Writers begin anew: those of the
// checkpoint have ended. Unimplemented: the table is over another one, and is left as it is. After any other error the
// table is of no use.
absl::Status TakeShare(const v1::Redistribution& redistribution, const std::string& run_id, uint32_t shard,
                       Table& table);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_REDISTRIBUTION_H_
