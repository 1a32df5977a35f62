// What the replay shards have when a run goes on, which may be another number of shards than before.
#ifndef HEADRACE_LEARNER_REPLAY_RESTORE_H_
#define HEADRACE_LEARNER_REPLAY_RESTORE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"
#include "proto/handshake.pb.h"
#include "proto/replay.pb.h"

namespace headrace {

// Each shard's table as the checkpoint's manifest knows it; without a name where it knows nothing. If the checkpoint is
// of another number of shards, each has its share of what all had counted.
std::vector<v1::TableState> ShardStates(const v1::CheckpointManifest& manifest, const std::string& table,
                                        size_t shards);

// Whether the checkpoint holds what another number of shards had.
bool NumberOfShardsChanged(const v1::CheckpointManifest& manifest, size_t shards);

// For each shard what it takes its table from, where their number has changed. Asks all of them which files they can
// read, and waits for who does not answer. Steps of files that no shard can read are missing from the counters, from
// which the sampler sees that they are lost. Unavailable: a shard has not answered for ten minutes. Cancelled: this
// process was told to end. Else the error with which a shard refuses.
absl::StatusOr<std::vector<v1::Redistribution>> PlanRedistribution(const v1::CheckpointManifest& manifest,
                                                                   const std::string& table, const v1::Peer& peer,
                                                                   const std::vector<std::string>& addresses);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_REPLAY_RESTORE_H_
