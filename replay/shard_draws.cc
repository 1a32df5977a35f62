#include "replay/shard_draws.h"

#include <cstddef>

namespace headrace {

double TotalMass(const std::vector<ShardStock>& stocks) {
  double mass = 0;
  for (const ShardStock& stock : stocks) mass += stock.mass;
  return mass;
}

double TotalItems(const std::vector<ShardStock>& stocks) {
  double items = 0;
  for (const ShardStock& stock : stocks) items += stock.items;
  return items;
}

std::vector<uint32_t> SplitDraws(uint32_t count, std::vector<ShardStock> stocks, bool once, RandomStream& random) {
  std::vector<uint32_t> draws(stocks.size());
  double total = TotalMass(stocks);
  for (uint32_t i = 0; i < count; ++i) {
    double left = random.Uniform() * total;
    size_t chosen = 0;
    for (size_t shard = 0; shard < stocks.size(); ++shard) {
      if (stocks[shard].mass <= 0) continue;
      chosen = shard;  // the last one at least, where rounding leads past the end
      if (left < stocks[shard].mass) break;
      left -= stocks[shard].mass;
    }
    ++draws[chosen];
    if (!once) continue;
    stocks[chosen].mass -= stocks[chosen].mass / stocks[chosen].items;
    --stocks[chosen].items;
    total = TotalMass(stocks);
  }
  return draws;
}

// The words go in one after the other, so that a seed and a shard are never what the next seed and the shard before
// are. The mixing is SplitMix64's, whose job is to spread neighbouring numbers over all bits.
uint64_t DrawKey(uint64_t seed, uint64_t draws_on, uint64_t batch, uint64_t salt) {
  uint64_t key = 0;
  for (const uint64_t word : {seed, draws_on, batch, salt}) {
    key += word + 0x9e3779b97f4a7c15u;
    key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
    key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
    key ^= key >> 31;
  }
  return key;
}

}  // namespace headrace
