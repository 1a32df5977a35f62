// What the benchmark replay_vs_reverb writes: rows that are given over and over. tools/bench/replay_reverb.py makes
// others of the same kinds.
#ifndef HEADRACE_TOOLS_BENCH_REPLAY_CONTENT_H_
#define HEADRACE_TOOLS_BENCH_REPLAY_CONTENT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/column.pb.h"

namespace headrace {

class ReplayContent {
 public:
  // Normally distributed values, which no compression makes smaller.
  static ReplayContent Floats(uint32_t columns, uint32_t floats_of_each);
  // [84, 84, 4] of random bytes.
  static ReplayContent NoiseFrames();
  // The same of what a game's screen may be: bands of one grey, six textured squares that move before them, and as
  // channels the last four pictures.
  static ReplayContent GameFrames();

  const v1::Signature& signature() const { return signature_; }
  size_t row_bytes() const { return row_bytes_; }
  // The columns of a step's row.
  std::span<const std::byte* const> Row(uint64_t step) const { return rows_[step % rows_.size()]; }

 private:
  ReplayContent(const v1::Signature& signature, std::vector<std::byte> bytes);

  v1::Signature signature_;
  size_t row_bytes_ = 0;
  std::vector<std::byte> bytes_;
  std::vector<std::vector<const std::byte*>> rows_;  // into bytes_
};

}  // namespace headrace

#endif  // HEADRACE_TOOLS_BENCH_REPLAY_CONTENT_H_
