// How many replay shards a run has.
#ifndef HEADRACE_COMMON_SHARDS_H_
#define HEADRACE_COMMON_SHARDS_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "proto/config.pb.h"

namespace headrace {

// None where nothing but gradients travels.
inline uint32_t ShardsOf(const v1::RunConfig& config) {
  return config.topology() == v1::ASYNCHRONOUS_GRADIENTS ? 0 : config.replay().shards();
}

// InvalidArgument: `addresses` of shards were given to a run that has another number of them.
inline absl::Status CheckShards(const v1::RunConfig& config, size_t addresses) {
  if (addresses == ShardsOf(config)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "expected %d addresses in --replay (%s), got %d", ShardsOf(config),
      ShardsOf(config) == 0 ? "topology: ASYNCHRONOUS_GRADIENTS has no replay" : "replay.shards", addresses));
}

}  // namespace headrace

#endif  // HEADRACE_COMMON_SHARDS_H_
