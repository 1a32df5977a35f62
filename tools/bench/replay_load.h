// What the benchmarks of replay measure with: tables of transitions, writers that fill them and samplers that ask for
// batches, each as fast as it can be, and what copying the same rows takes without any of it.
//
// One thread. Not thread-safe.
#ifndef HEADRACE_TOOLS_BENCH_REPLAY_LOAD_H_
#define HEADRACE_TOOLS_BENCH_REPLAY_LOAD_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/security.h"
#include "proto/replay.pb.h"
#include "replay/row_layout.h"
#include "replay/sampler.h"
#include "replay/writer.h"
#include "tools/bench/server_process.h"

namespace headrace {

inline constexpr uint32_t kBatch = 256;

double Since(std::chrono::steady_clock::time_point begin);
double Median(std::vector<double> values);
// One JSON object a line, or a row of the table that PrintHeading begins.
void PrintHeading();
void PrintFigure(bool json, const std::string& name, const std::string& unit, double value, double reference);

// Six columns, `observation` and `action` floats beside 14 bytes of others.
v1::Signature TransitionSignature(uint32_t observation, uint32_t action);
// Transitions of such rows; the oldest is removed first.
v1::TableSpec TransitionTable(const v1::Signature& signature, v1::Selector sampler, uint64_t max_bytes);

// In a process of its own: a shard on the second core, which writes checkpoints if it is told where to.
[[noreturn]] void ServeShard(uint64_t budget_bytes, const Security& security, const std::string& checkpoints = "");

void CreateTable(const ServerProcess& server, const v1::TableSpec& table);

// Steps a second through a ReplayWriter that is given `steps_at_a_time`.
class Inserting {
 public:
  struct Rate {
    double per_second = 0;
    double server_cpu = 0;  // seconds for each
  };

  Inserting(const ServerProcess& server, const v1::Signature& signature, uint32_t steps_at_a_time);
  Rate Measure(double seconds);
  // Sends a chunk and waits until it is acknowledged.
  void SendOnce();
  uint64_t steps() const { return steps_; }

 private:
  void SendChunk();

  const ServerProcess& server_;
  const uint32_t steps_at_a_time_;
  std::vector<std::byte> row_;
  std::vector<const std::byte*> columns_;  // of the row
  uint64_t steps_ = 0;
  std::unique_ptr<ReplayWriter> writer_;
};

// So many steps, or a few more; returns how many.
uint64_t Fill(const ServerProcess& server, const v1::Signature& signature, uint64_t steps);

// Batches a second out of all servers, with so many requests in flight.
class Sampling {
 public:
  Sampling(const std::vector<const ServerProcess*>& servers, const v1::TableSpec& table, size_t in_flight);
  size_t batch_bytes() const { return batch_bytes_; }
  uint64_t batches() const { return batches_; }
  // Also collects the time from asking to having, in seconds, when one request at a time is made.
  double Measure(double seconds, std::vector<double>* latencies = nullptr);

 private:
  std::vector<std::vector<std::vector<std::byte>>> memory_;
  size_t batch_bytes_ = 0;
  uint64_t batches_ = 0;
  std::unique_ptr<ReplaySampler> sampler_;
};

// Seconds that copying kBatch transitions takes from random places among so many rows in memory, with a look ahead as
// the shard's.
double GatherSeconds(size_t row_bytes, size_t rows, double seconds);

}  // namespace headrace

#endif  // HEADRACE_TOOLS_BENCH_REPLAY_LOAD_H_
