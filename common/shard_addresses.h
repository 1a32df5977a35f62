// Where a run's replay shards are, as --replay says it: every address, or a pattern for all of them, so that a
// cluster's names need no list that somebody keeps.
//
//   ShardAddresses({"replay-{}.replay:7000"}, 2) == {"replay-0.replay:7000", "replay-1.replay:7000"}
#ifndef HEADRACE_COMMON_SHARD_ADDRESSES_H_
#define HEADRACE_COMMON_SHARD_ADDRESSES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace headrace {

// Whether the system's resolver knows an address of the host; it may ask a name server.
bool HasAddress(const std::string& host);

// `shards`: replay.shards of the configuration. INVALID_ARGUMENT: another number of addresses was given.
// FAILED_PRECONDITION: the pattern's names go on after the last shard, as where a StatefulSet has more replicas.
absl::StatusOr<std::vector<std::string>> ShardAddresses(
    const std::vector<std::string>& given, uint32_t shards,
    const std::function<bool(const std::string& host)>& has_address = HasAddress);

}  // namespace headrace

#endif  // HEADRACE_COMMON_SHARD_ADDRESSES_H_
