// How the draws of a batch are shared out over shards, so that it is drawn as from one table.
#ifndef HEADRACE_REPLAY_SHARD_DRAWS_H_
#define HEADRACE_REPLAY_SHARD_DRAWS_H_

#include <cstdint>
#include <vector>

#include "common/random.h"

namespace headrace {

// What a shard has that could be drawn.
struct ShardStock {
  double mass = 0;
  double items = 0;
};

double TotalMass(const std::vector<ShardStock>& stocks);
double TotalItems(const std::vector<ShardStock>& stocks);

// How many of `count` draws go to each shard, in proportion to their masses: each draw independently, as one table
// would. With `once` an item that was drawn is gone, and with it the mean of its shard's weights; there must be as
// many.
std::vector<uint32_t> SplitDraws(uint32_t count, std::vector<ShardStock> stocks, bool once, RandomStream& random);

// A key for one random stream of one batch: that of shard `draws_on` - 1, or, for 0, the one that shares the draws out.
// `salt`: another for each time that it is drawn anew.
uint64_t DrawKey(uint64_t seed, uint64_t draws_on, uint64_t batch, uint64_t salt);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SHARD_DRAWS_H_
