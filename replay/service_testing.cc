#include "replay/service_testing.h"

#include <cstring>
#include <utility>

#include "common/check.h"
#include "common/protocol.h"
#include "common/status_macros.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/service.h"
#include "replay/testing.h"

namespace headrace {
namespace {

constexpr uint64_t kShardBudget = 64 << 20;

template <typename T>
T ReadAt(const std::vector<std::byte>& block, size_t index) {
  T value;
  std::memcpy(&value, block.data() + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

std::chrono::steady_clock::time_point Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(30); }
std::chrono::steady_clock::time_point Now() { return std::chrono::steady_clock::now(); }

TestShard::TestShard(uint32_t number, std::string checkpoint_directory, bool journal, uint32_t shards)
    : number_(number), checkpoint_directory_(std::move(checkpoint_directory)), journal_(journal), shards_(shards) {
  Restart();
}

TestShard::~TestShard() { StopServing(); }

void TestShard::StopServing() { server_.reset(); }

void TestShard::Serve(const StreamLimits& limits) {
  service_ = MakeReplayService(shard_.get(), checkpoint_directory_, limits);
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(address_, {service_.get()});
  EXPECT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  address_ = server_->address();
}

void TestShard::Restart() {
  StopServing();
  shard_.reset();  // and with it the journal of the life before
  shard_ = std::make_unique<Shard>(number_, kShardBudget, ++incarnation_, shards_);
  if (!checkpoint_directory_.empty()) {
    const absl::StatusOr<std::string> restored = RestoreNewest(checkpoint_directory_, *shard_);
    EXPECT_TRUE(restored.ok()) << restored.status();
  }
  if (journal_) {
    shard_->SetJournal(*Journal::Start(checkpoint_directory_, NewestJournalFile(checkpoint_directory_)));
  }
  Serve();
}

ReplayWriterOptions TestWriterOptions(const std::string& address, uint64_t writer) {
  ReplayWriterOptions options;
  options.address = address;
  options.peer = MakePeer("run", "actor");
  options.writer = writer;
  options.table = "t";
  options.signature = TestSignature();
  options.chunk_rows = 16;
  return options;
}

void EpisodeWriter::Append(uint32_t lane, v1::EpisodeEnd end) {
  if (lane >= next_row_.size()) next_row_.resize(lane + 1);
  const TestRow row(lane, next_row_[lane]++);
  writer_->Append(lane, row.columns(), end);
}

absl::Status EpisodeWriter::Write(uint32_t lane, uint32_t steps, v1::EpisodeEnd end) {
  for (uint32_t step = 0; step < steps; ++step) {
    Append(lane, v1::NOT_ENDED);
    if (step + 1 == steps) Append(lane, end);
    RETURN_IF_ERROR(writer_->Send(Soon()));
  }
  return absl::OkStatus();
}

absl::Status EpisodeWriter::WriteStep(uint32_t lane) {
  Append(lane, v1::NOT_ENDED);
  return writer_->Send(Soon());
}

TestBatches::TestBatches(std::vector<std::string> addresses, uint32_t batch_size, size_t slots) {
  options.addresses = std::move(addresses);
  options.peer = MakePeer("run", "learner");
  options.table = TestSpec();
  options.batch_size = batch_size;
  options.seed = 5;
  const std::vector<std::tuple<std::string, uint32_t, size_t>> slices = {
      {"observation", 2, 8}, {"action", 1, 4}, {"reward", 1, 8}, {"terminated", 1, 1}};
  for (const auto& [column, rows, bytes] : slices) {
    v1::ColumnSlice& slice = options.slices.emplace_back();
    slice.set_column(column);
    slice.set_rows(rows);
  }
  memory_.resize(slots);
  for (std::vector<std::vector<std::byte>>& slot : memory_) {
    for (const auto& [column, rows, bytes] : slices) slot.emplace_back(size_t{batch_size} * rows * bytes);
    options.slots.emplace_back(slot.begin(), slot.end());
  }
}

std::pair<uint32_t, uint64_t> TestBatches::Check(size_t slot, uint32_t i) const {
  const auto observation = ReadAt<std::array<std::array<float, 2>, 2>>(memory_[slot][0], i);
  const uint32_t lane = static_cast<uint32_t>(observation[0][0]);
  const uint64_t row = static_cast<uint64_t>(observation[0][1]);
  const TestRow expected(lane, row);
  EXPECT_EQ(observation[0], expected.observation);
  EXPECT_EQ(observation[1], TestRow(lane, row + 1).observation);
  EXPECT_EQ(ReadAt<float>(memory_[slot][1], i), expected.action);
  EXPECT_EQ(ReadAt<double>(memory_[slot][2], i), expected.reward);
  EXPECT_EQ(ReadAt<uint8_t>(memory_[slot][3], i), expected.terminated);
  return {lane, row};
}

std::string TestBatches::Bytes(size_t slot) const {
  std::string bytes;
  for (const std::vector<std::byte>& block : memory_[slot]) {
    bytes.append(reinterpret_cast<const char*>(block.data()), block.size());
  }
  return bytes;
}

std::unique_ptr<ReplayWriter> StartWriter(const ReplayWriterOptions& options) {
  absl::StatusOr<std::unique_ptr<ReplayWriter>> writer = ReplayWriter::Start(options);
  EXPECT_TRUE(writer.ok()) << writer.status();
  return *std::move(writer);
}

std::unique_ptr<ReplaySampler> StartSampler(const TestBatches& batches) {
  absl::StatusOr<std::unique_ptr<ReplaySampler>> sampler = ReplaySampler::Start(batches.options);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  return *std::move(sampler);
}

void Fill(TestShard& shard, uint64_t id, uint32_t lane, uint32_t transitions, const v1::TableSpec& spec) {
  ASSERT_TRUE(shard.shard().CreateTable(MakePeer("run", "learner"), spec).ok());
  TestWriter writer(&shard.table(), id);
  writer.Append(lane, transitions + 1);
  ASSERT_TRUE(writer.Insert().ok());
}

}  // namespace headrace
