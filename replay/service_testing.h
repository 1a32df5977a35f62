// A shard that serves on loopback, for tests that go through gRPC.
#ifndef HEADRACE_REPLAY_SERVICE_TESTING_H_
#define HEADRACE_REPLAY_SERVICE_TESTING_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/grpc_server.h"
#include "replay/row_writer.h"
#include "replay/sampler.h"
#include "replay/shard.h"
#include "replay/testing.h"
#include "replay/writer.h"

namespace headrace {

// For waits that end by themselves unless the code is wrong.
std::chrono::steady_clock::time_point Soon();
// A deadline that has passed: what cannot be done now is not waited for.
std::chrono::steady_clock::time_point Now();

class TestShard {
 public:
  // Serves at once, on a free port. `shards`: of how many; 0: not known.
  explicit TestShard(uint32_t number = 0, std::string checkpoint_directory = "", bool journal = false,
                     uint32_t shards = 0);
  ~TestShard();

  const std::string& address() const { return address_; }
  Shard& shard() { return *shard_; }
  // The only table.
  Table& table() { return *shard_->Tables().at(0); }

  // Breaks every connection; the shard itself lives on.
  void StopServing();
  // On the same port.
  void Serve(const StreamLimits& limits = {});
  // A new life: what is in the checkpoint directory, journal included, or nothing.
  void Restart();

 private:
  const uint32_t number_;
  const std::string checkpoint_directory_;
  const bool journal_;
  const uint32_t shards_;
  uint64_t incarnation_ = 0;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<GrpcServer> server_;
};

ReplayWriterOptions TestWriterOptions(const std::string& address, uint64_t writer = 1);

// Writes episodes of rows that say which they are (TestRow).
class EpisodeWriter {
 public:
  explicit EpisodeWriter(RowWriter* writer) : writer_(writer) {}
  // `steps` environment steps of `lane`, and the final observation.
  absl::Status Write(uint32_t lane, uint32_t steps, v1::EpisodeEnd end = v1::TERMINATED);
  // One step of an episode that goes on.
  absl::Status WriteStep(uint32_t lane);
  // The same without waiting for room, or, with an `end`, the episode's final observation.
  void Append(uint32_t lane, v1::EpisodeEnd end);

 private:
  RowWriter* const writer_;
  std::vector<uint64_t> next_row_;
};

// A sampler's options with memory for its batches: slices are both rows of a transition's observation, and the action,
// reward and flag of its first.
class TestBatches {
 public:
  TestBatches(std::vector<std::string> addresses, uint32_t batch_size, size_t slots);

  ReplaySamplerOptions options;

  // Transition i of a slot: its lane and row. Fails the test if a column is of another row.
  std::pair<uint32_t, uint64_t> Check(size_t slot, uint32_t i) const;
  // All bytes of a slot.
  std::string Bytes(size_t slot) const;

 private:
  std::vector<std::vector<std::vector<std::byte>>> memory_;
};

// Of these options, started.
std::unique_ptr<ReplayWriter> StartWriter(const ReplayWriterOptions& options);
std::unique_ptr<ReplaySampler> StartSampler(const TestBatches& batches);

// Straight into a shard's table, which is made: `transitions` of one lane. `id`: of the writer.
void Fill(TestShard& shard, uint64_t id, uint32_t lane, uint32_t transitions, const v1::TableSpec& spec = TestSpec());

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SERVICE_TESTING_H_
