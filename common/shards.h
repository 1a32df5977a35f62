// How many replay shards a run has.
#ifndef HEADRACE_COMMON_SHARDS_H_
#define HEADRACE_COMMON_SHARDS_H_

#include <cstdint>

#include "proto/config.pb.h"

namespace headrace {

// None where nothing but gradients travels.
inline uint32_t ShardsOf(const v1::RunConfig& config) {
  return config.topology() == v1::ASYNCHRONOUS_GRADIENTS ? 0 : config.replay().shards();
}

}  // namespace headrace

#endif  // HEADRACE_COMMON_SHARDS_H_
