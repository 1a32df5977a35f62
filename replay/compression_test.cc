// Compressed columns on all their ways: from a writer to a sampler, through stacks, checkpoints, redistribution, and
// tables that are full. Each frame says which row it is of, and some of them cannot be made smaller.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/protocol.h"
#include "common/random.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/cell.h"
#include "replay/checkpoint.h"
#include "replay/service_testing.h"
#include "replay/shard.h"
#include "replay/table.h"
#include "replay/testing.h"
#include "replay/wire.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kFrameBytes = 1024;
constexpr uint32_t kStack = 3;
constexpr uint32_t kItemRows = 2;
using Frame = std::array<uint8_t, kFrameBytes>;

Frame FrameOf(uint64_t lane, uint64_t row) {
  Frame frame{};
  std::memcpy(frame.data(), &lane, sizeof(lane));
  std::memcpy(frame.data() + sizeof(lane), &row, sizeof(row));
  RandomStream random(lane << 32 | row);
  const size_t noise = row % 5 == 4 ? kFrameBytes : 100;
  for (size_t i = 16; i < noise; ++i) frame[i] = static_cast<uint8_t>(256 * random.Uniform());
  return frame;
}

v1::TableSpec ImageSpec() {
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(4 << 20);
  spec.set_context_rows(kStack - 1);
  spec.set_max_item_rows(kStack - 1 + kItemRows);
  spec.mutable_signature()->clear_columns();
  const auto add = [&](const std::string& name, v1::DataType type, std::initializer_list<uint32_t> shape) {
    v1::Column& column = *spec.mutable_signature()->add_columns();
    column.set_name(name);
    column.set_data_type(type);
    column.mutable_shape()->Add(shape.begin(), shape.end());
    return &column;
  };
  add("reward", v1::FLOAT32, {});
  add("frame", v1::UINT8, {32, 32})->set_compression(v1::LZ4);
  add("which", v1::INT64, {2});
  add("mask", v1::UINT8, {64})->set_compression(v1::LZ4);
  return spec;
}

// A row's columns, as a ChunkBuilder wants them.
struct ImageRow {
  ImageRow(uint64_t lane, uint64_t row) : reward(1), frame(FrameOf(lane, row)), which{lane, row}, mask{} {
    mask.fill(static_cast<uint8_t>(row));
  }
  std::array<const std::byte*, 4> columns() const {
    return {reinterpret_cast<const std::byte*>(&reward), reinterpret_cast<const std::byte*>(frame.data()),
            reinterpret_cast<const std::byte*>(which.data()), reinterpret_cast<const std::byte*>(mask.data())};
  }
  float reward;
  Frame frame;
  std::array<uint64_t, 2> which;
  std::array<uint8_t, 64> mask;
};

// Episodes of 7 rows in chunks of 10 to 12 rows of two lanes.
class ImageWriter {
 public:
  explicit ImageWriter(Table* table, uint64_t id = 1)
      : table_(table),
        id_(id),
        builder_(*RowLayout::Create(table->spec().signature()), {.rows = kItemRows}),
        session_(table->OpenWriter(id, 1).session) {}

  void Write(int chunks) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      for (uint64_t lane = 0; lane < 2; ++lane) {
        for (uint64_t rows = 0; rows < 5 + lane; ++rows, ++next_row_[lane]) {
          const ImageRow row(lane, next_row_[lane]);
          builder_.Append(static_cast<uint32_t>(lane), row.columns(),
                          next_row_[lane] % 7 == 6 ? v1::TERMINATED : v1::NOT_ENDED);
        }
      }
      const absl::StatusOr<Table::Outcome> outcome =
          InsertInto(*table_, id_, session_, builder_.Build(next_sequence_++));
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      ASSERT_EQ(*outcome, Table::Outcome::kDone);
    }
  }

 private:
  Table* const table_;
  const uint64_t id_;
  ChunkBuilder builder_;
  const uint64_t session_;
  uint64_t next_sequence_ = 1;
  std::array<uint64_t, 2> next_row_{};
};

// The frames of a slice of these items, as they travel: framed, read and inflated.
std::vector<Frame> Frames(const Table& table, const std::vector<ItemStore::Drawn>& items, const Slice& slice) {
  const FrameSpec spec = {.slice = 0,
                          .offset = 0,
                          .bytes = table.GatheredBytes(items, slice),
                          .cells = static_cast<uint32_t>(items.size() * slice.cells()),
                          .cell_bytes = kFrameBytes};
  const SampleMessage message = BeginSampleResponse(v1::SampleResponse(), {{spec}});
  table.Gather(items, {{slice}}, message.payloads);
  std::vector<Frame> frames(items.size() * slice.cells());
  const std::span<std::byte> block = std::as_writable_bytes(std::span(frames));
  v1::SampleResponse head;
  EXPECT_EQ(ReadSampleResponse(grpc::ByteBuffer(&message.message, 1), head, {{block}}), absl::OkStatus());
  return frames;
}

// Samples items, with a stack of each row; returns how many frames of stacks were before an episode's start.
int CheckSample(Table& table, uint32_t count) {
  Table::Batch batch;
  EXPECT_EQ(*table.Sample({count, kItemRows, 3}, batch, {&table, [] {}}), Table::Outcome::kDone);
  std::vector<std::array<uint64_t, 2>> which(count * kItemRows);
  const Slice rows = {.column = 2, .first_row = 0, .rows = kItemRows};
  table.Gather(batch.items(), {{rows}}, {{reinterpret_cast<std::byte*>(which.data())}});
  const std::vector<Frame> frames =
      Frames(table, batch.items(), {.column = 1, .first_row = 0, .rows = kItemRows, .stack = kStack});
  int before_start = 0;
  for (size_t i = 0; i < which.size(); ++i) {
    const auto [lane, row] = which[i];
    for (uint64_t back = 0; back < kStack; ++back) {
      const Frame& frame = frames[i * kStack + kStack - 1 - back];
      const bool there = row % 7 >= back;
      EXPECT_EQ(frame, there ? FrameOf(lane, row - back) : Frame{}) << lane << "/" << row << " - " << back;
      before_start += there ? 0 : 1;
    }
  }
  return before_start;
}

TEST(CompressionTest, StacksOfRowsComeOutAsTheyWentIn) {
  const std::unique_ptr<Table> table = *Table::Create(ImageSpec(), 0, 1);
  ImageWriter writer(table.get());
  writer.Write(50);
  EXPECT_GT(CheckSample(*table, 500), 50);
  // Four of five frames are mostly zeros.
  EXPECT_LT(table->State().stored_bytes(), 550 * kFrameBytes / 2);
}

TEST(CompressionTest, ABudgetHoldsWhateverTheCellsTake) {
  v1::TableSpec spec = ImageSpec();
  spec.set_max_bytes(256 << 10);
  const std::unique_ptr<Table> table = *Table::Create(spec, 0, 1);
  ImageWriter writer(table.get());
  uint64_t most = 0;
  for (int round = 0; round < 100; ++round) {
    writer.Write(10);
    CheckSample(*table, 20);
    most = std::max(most, table->State().stored_bytes());
    ASSERT_LE(table->State().stored_bytes(), spec.max_bytes());
  }
  EXPECT_GT(most, spec.max_bytes() / 2) << "and it is used";
  EXPECT_GT(table->State().removed_items(), 5000u);
}

TEST(CompressionTest, WhatIsBeingReadStaysUntilItHasBeen) {
  v1::TableSpec spec = ImageSpec();
  spec.set_max_bytes(256 << 10);
  const std::unique_ptr<Table> table = *Table::Create(spec, 0, 1);
  ImageWriter writer(table.get());
  writer.Write(5);
  Table::Batch batch;
  ASSERT_EQ(*table->Sample({4, kItemRows, 3}, batch, {&table, [] {}}), Table::Outcome::kDone);
  const Slice slice = {.column = 1, .first_row = 0, .rows = kItemRows};
  const std::vector<Frame> before = Frames(*table, batch.items(), slice);
  // Until some of the items are gone, but no more than rows may be held back.
  while (table->State().removed_items() == 0) writer.Write(1);
  EXPECT_EQ(Frames(*table, batch.items(), slice), before);
}

class CompressionOnDiskTest : public testing::Test {
 protected:
  // A checkpoint of a shard of this number, and its file.
  std::string WriteShard(uint32_t number, int chunks) {
    Shard shard(number, 8 << 20, 1, 2);
    Table& table = **shard.CreateTable(MakePeer("run", "learner"), ImageSpec());
    ImageWriter(&table).Write(chunks);
    v1::CheckpointRequest request;
    request.set_name("one");
    request.set_keep(1);
    const absl::StatusOr<v1::CheckpointResponse> written =
        WriteCheckpoint(shard, directory_.path() + "/" + std::to_string(number), request);
    EXPECT_TRUE(written.ok()) << written.status();
    items_ += table.State().items();
    return written->path();
  }

  const TestDirectory directory_;
  uint64_t items_ = 0;
};

TEST_F(CompressionOnDiskTest, ACheckpointHasTheCells) {
  WriteShard(0, 50);
  Shard restored(0, 8 << 20, 2, 2);
  ASSERT_EQ(*RestoreNewest(directory_.path() + "/0", restored), "one");
  Table& table = *restored.Tables()[0];
  EXPECT_EQ(table.State().items(), items_);
  EXPECT_GT(CheckSample(table, 500), 50);
  ImageWriter(&table, 2).Write(20);
  CheckSample(table, 500);
}

TEST_F(CompressionOnDiskTest, AFullTableIsRestored) {
  v1::TableSpec spec = ImageSpec();
  spec.set_max_bytes(256 << 10);
  Shard shard(0, 1 << 20, 1, 1);
  Table& table = **shard.CreateTable(MakePeer("run", "learner"), spec);
  ImageWriter(&table).Write(200);
  ASSERT_GT(table.State().removed_items(), 0u);
  v1::CheckpointRequest request;
  request.set_name("full");
  request.set_keep(1);
  ASSERT_TRUE(WriteCheckpoint(shard, directory_.path(), request).ok());
  Shard restored(0, 1 << 20, 2, 1);
  ASSERT_EQ(*RestoreNewest(directory_.path(), restored), "full");
  EXPECT_EQ(restored.Tables()[0]->State().items(), table.State().items());
  CheckSample(*restored.Tables()[0], 200);
  ImageWriter(restored.Tables()[0], 2).Write(200);
  CheckSample(*restored.Tables()[0], 200);
}

TEST_F(CompressionOnDiskTest, ACheckpointIsSpreadWithItsCells) {
  v1::Redistribution redistribution;
  redistribution.set_name("one");
  for (const uint32_t number : {0u, 1u}) {
    v1::ShardFile& file = *redistribution.add_files();
    file.set_shard(number);
    file.set_path(WriteShard(number, 20 + 10 * static_cast<int>(number)));
    for (const uint32_t reader : {0u, 1u, 2u}) file.add_readers(reader);
  }
  uint64_t items = 0;
  for (const uint32_t number : {0u, 1u, 2u}) {
    Shard shard(number, 8 << 20, 2, 3);
    const absl::StatusOr<Table*> table = shard.CreateTable(MakePeer("run", "learner"), ImageSpec(), &redistribution);
    ASSERT_TRUE(table.ok()) << table.status();
    items += (*table)->State().items();
    CheckSample(**table, 200);
  }
  EXPECT_EQ(items, items_);
}

TEST(CompressionServiceTest, FromAWriterToASamplerOverSeveralMessages) {
  TestShard shard;
  constexpr uint32_t kBatch = 2000;  // of more than a message's bytes, compressed or not
  v1::TableSpec spec = ImageSpec();
  spec.set_max_bytes(16 << 20);
  TestBatches batches({shard.address()}, kBatch, 1);
  batches.options.table = spec;
  batches.options.slices.clear();
  std::vector<Frame> frames(kBatch * kStack);
  std::vector<std::array<uint64_t, 2>> which(kBatch);
  v1::ColumnSlice slice;
  slice.set_column("frame");
  slice.set_rows(1);
  slice.set_stack(kStack);
  batches.options.slices.push_back(slice);
  slice.set_column("which");
  slice.clear_stack();
  batches.options.slices.push_back(slice);
  batches.options.slots = {{std::as_writable_bytes(std::span(frames)), std::as_writable_bytes(std::span(which))}};
  batches.options.ratio = {.updates_per_step = 1, .min_steps = 500, .lead_steps = 10'000};
  const std::unique_ptr<ReplaySampler> sampler = *ReplaySampler::Start(batches.options);
  ASSERT_TRUE(sampler->WaitConnected(Soon()));
  ReplayWriterOptions options = TestWriterOptions(shard.address());
  options.signature = spec.signature();
  const std::unique_ptr<ReplayWriter> writer = *ReplayWriter::Start(options);
  for (uint64_t row = 0; row < 700; ++row) {
    writer->Append(0, ImageRow(0, row).columns(), row % 7 == 6 ? v1::TERMINATED : v1::NOT_ENDED);
    ASSERT_TRUE(writer->Send(Soon()).ok());
  }
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_LT(writer->sent_bytes(), 700 * kFrameBytes / 2);
  const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
  ASSERT_TRUE(filled.ok()) << filled.status();
  for (size_t i = 0; i < kBatch; ++i) {
    const auto [lane, row] = which[i];
    for (uint64_t back = 0; back < kStack; ++back) {
      const Frame& frame = frames[i * kStack + kStack - 1 - back];
      ASSERT_EQ(frame, row % 7 >= back ? FrameOf(lane, row - back) : Frame{}) << row << " - " << back;
    }
  }
}

class CompressionRefusalTest : public testing::Test {
 protected:
  // A chunk of two rows with cells of these sizes, first of `frame`, then of `mask`.
  absl::Status Insert(const std::vector<uint32_t>& sizes, size_t payload_bytes) {
    return Insert(sizes, std::vector<std::byte>(payload_bytes));
  }
  absl::Status Insert(const std::vector<uint32_t>& sizes, const std::vector<std::byte>& payload) {
    const std::unique_ptr<Table> table = *Table::Create(ImageSpec(), 0, 1);
    v1::ChunkHeader chunk;
    chunk.set_sequence(1);
    v1::Segment& segment = *chunk.add_segments();
    segment.set_rows(2);
    segment.set_episode_start(true);
    chunk.mutable_cell_bytes()->Add(sizes.begin(), sizes.end());
    const absl::StatusOr<Table::Outcome> outcome = table->Insert(
        1, table->OpenWriter(1, 1).session, chunk, ChunkPayload(payload), {&table, [] {}}, [] { return 0; });
    EXPECT_EQ(table->State().inserted_steps(), outcome.ok() ? 2u : 0u);
    return outcome.status();
  }

  static constexpr size_t kFixedBytes = 2 * (4 + 16);
};

TEST_F(CompressionRefusalTest, TakesCellsThatFitAndRefusesThoseThatCannotBeInflated) {
  std::vector<std::byte> payload(2 * 4);  // rewards
  const size_t frame_at = payload.size();
  const uint32_t frame = Deflate(std::vector<std::byte>(kFrameBytes), payload);
  payload.resize(payload.size() + kFrameBytes + 2 * 16 + 64);  // one as it is, `which`, and a mask as it is
  const uint32_t mask = Deflate(std::vector<std::byte>(64), payload);
  ASSERT_LT(frame, kFrameBytes);
  ASSERT_LT(mask, 64u);
  EXPECT_EQ(Insert({frame, kFrameBytes, 64, mask}, payload), absl::OkStatus());
  std::vector<std::byte> damaged = payload;
  damaged[damaged.size() - mask] = std::byte{0xff};
  EXPECT_THAT(Insert({frame, kFrameBytes, 64, mask}, damaged).message(),
              HasSubstr("expected a cell of 64 bytes by LZ4, got another in column mask, row 1"));
  damaged = payload;
  damaged[frame_at] = std::byte{0};
  EXPECT_THAT(Insert({frame, kFrameBytes, 64, mask}, damaged).message(), HasSubstr("column frame, row 0"));
}

TEST_F(CompressionRefusalTest, RefusesSizesThatDoNot) {
  EXPECT_THAT(Insert({10, 10, 10}, kFixedBytes + 30).message(),
              HasSubstr("expected the sizes of 2 cells for each of 2"));
  EXPECT_THAT(Insert({}, kFixedBytes).message(), HasSubstr("expected the sizes of 2 cells for each of 2 rows, got 0"));
  EXPECT_THAT(Insert({10, 0, 10, 10}, kFixedBytes + 30).message(),
              HasSubstr("expected cells of 1 to 1024 bytes, got 0 in column frame, row 1"));
  EXPECT_THAT(Insert({10, 10, 65, 10}, kFixedBytes + 95).message(),
              HasSubstr("expected cells of 1 to 64 bytes, got 65 in column mask, row 0"));
  EXPECT_THAT(Insert({10, 10, 10, 10}, kFixedBytes + 41).message(),
              HasSubstr("expected 80 bytes for 2 rows of 20 and"));
}

TEST(CompressionSpecTest, RefusesWhatCannotBeCompressed) {
  v1::TableSpec spec = ImageSpec();
  spec.mutable_signature()->mutable_columns(0)->set_compression(v1::LZ4);
  EXPECT_THAT(Table::Create(spec, 0, 1).status().message(),
              HasSubstr("floating-point numbers, got reward FLOAT32 [] LZ4"));
  spec = ImageSpec();
  spec.mutable_signature()->mutable_columns(1)->set_compression(static_cast<v1::Compression>(7));
  EXPECT_THAT(Table::Create(spec, 0, 1).status().message(), HasSubstr("by LZ4 if its values"));
}

TEST(CompressionSpecTest, AWriterThatCompressesOtherwiseIsRefused) {
  v1::Signature plain = ImageSpec().signature();
  plain.mutable_columns(1)->clear_compression();
  EXPECT_THAT(CheckSameSignature(ImageSpec().signature(), plain).message(), HasSubstr("frame UINT8 [32, 32] LZ4; "));
}

}  // namespace
}  // namespace headrace
