#include "common/random.h"

#include <cmath>
#include <numbers>
#include <random>

namespace headrace {
namespace {

uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  // Multipliers and Weyl increments of the paper's section 3.3.
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {High(product1) ^ counter[1] ^ key[0], Low(product1), High(product0) ^ counter[3] ^ key[1],
               Low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

uint64_t RandomId() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// The counter is (position, index, role and purpose) and the key is the seed: as Philox is a bijection of the counter
// for each key, streams of one seed never share a block. No role is 0, so streams named by a key alone stay apart too.
RandomStream::RandomStream(uint64_t seed, StreamRole role, uint32_t index, StreamPurpose purpose)
    : key_{Low(seed), High(seed)},
      stream_high_(static_cast<uint32_t>(role) << 16 | static_cast<uint32_t>(purpose)),
      stream_low_(index) {}

RandomStream::RandomStream(uint64_t key) : key_{Low(key), High(key)}, stream_high_(0), stream_low_(0) {}

void RandomStream::Refill() {
  block_ = Philox4x32({Low(position_), High(position_), stream_low_, stream_high_}, key_);
  ++position_;
  used_ = 0;
}

uint32_t RandomStream::operator()() {
  if (used_ == 4) Refill();
  return block_[used_++];
}

uint64_t RandomStream::Bits64() {
  const uint64_t low = (*this)();
  const uint64_t high = (*this)();
  return high << 32 | low;
}

double RandomStream::Uniform() { return static_cast<double>(Bits64() >> 11) * 0x1.0p-53; }

double RandomStream::Uniform(double low, double high) { return low + (high - low) * Uniform(); }

// Lemire, "Fast Random Integer Generation in an Interval", 2019: the high half of bits * n is uniform once the
// 2^64 mod n lowest values of the low half are rejected.
uint64_t RandomStream::Below(uint64_t n) {
  __extension__ using Wide = unsigned __int128;
  Wide product = static_cast<Wide>(Bits64()) * n;
  if (static_cast<uint64_t>(product) < n) {
    const uint64_t rejected = -n % n;
    while (static_cast<uint64_t>(product) < rejected) product = static_cast<Wide>(Bits64()) * n;
  }
  return static_cast<uint64_t>(product >> 64);
}

double RandomStream::Normal() {
  if (has_spare_normal_) {
    has_spare_normal_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));  // 1 - u is in (0, 1]
  const double angle = 2.0 * std::numbers::pi * Uniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_normal_ = true;
  return radius * std::cos(angle);
}

void RandomStream::FillNormal(std::span<float> values) {
  for (float& value : values) value = static_cast<float>(Normal());
}

}  // namespace headrace
