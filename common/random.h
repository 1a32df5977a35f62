// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
//
// A stream is named by (seed, role, index, purpose). Two different names give independent streams, the same name gives
// the same numbers on every machine.
//
//   RandomStream reset(config.seed(), StreamRole::kActor, lane, StreamPurpose::kEnvironment);
//   double angle = reset.Uniform(-M_PI, M_PI);
//
// Not thread-safe: one stream belongs to one thread.
#ifndef HEADRACE_COMMON_RANDOM_H_
#define HEADRACE_COMMON_RANDOM_H_

#include <array>
#include <cstdint>
#include <span>

namespace headrace {

// The values are part of every stream's name: append, never renumber.
enum class StreamRole : uint16_t { kLearner = 1, kActor = 2, kEvaluator = 3, kReplay = 4, kTest = 5 };
enum class StreamPurpose : uint16_t {
  kInitialization = 1,
  kUpdate = 2,
  kEnvironment = 3,
  kExploration = 4,
  kSampling = 5,
  kRemoval = 8,
};

// One block of Philox4x32-10: the bijection itself.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Another one each time, from the system: to tell processes and runs apart, not for anything that a seed decides.
uint64_t RandomId();

// Satisfies UniformRandomBitGenerator.
class RandomStream {
 public:
  using result_type = uint32_t;

  RandomStream(uint64_t seed, StreamRole role, uint32_t index, StreamPurpose purpose);
  // A stream named by a key alone, as batches of samples are.
  explicit RandomStream(uint64_t key);

  static constexpr uint32_t min() { return 0; }
  static constexpr uint32_t max() { return UINT32_MAX; }
  uint32_t operator()();

  uint64_t Bits64();
  // In [0, 1), with 53 random bits.
  double Uniform();
  double Uniform(double low, double high);
  // In [0, n), without bias. n must not be 0.
  uint64_t Below(uint64_t n);
  // Standard normal, by Box and Muller's transform; both values of a pair are used.
  double Normal();
  void FillNormal(std::span<float> values);

  // Blocks of four numbers drawn so far.
  uint64_t position() const { return position_; }

 private:
  void Refill();

  std::array<uint32_t, 2> key_;
  uint32_t stream_high_;
  uint32_t stream_low_;
  uint64_t position_ = 0;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
  double spare_normal_ = 0;
  bool has_spare_normal_ = false;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_RANDOM_H_
