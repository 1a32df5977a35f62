// Writes the inputs of the fuzz tests' corpora that are not text, each where it belongs in the source tree:
//   bazel run //tests/fuzz:write_corpus
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/file.h"
#include "common/protocol.h"
#include "common/safetensors.h"
#include "common/test_directory.h"
#include "proto/checkpoint.pb.h"
#include "proto/inference.pb.h"
#include "proto/parameter.pb.h"
#include "replay/checkpoint.h"
#include "replay/checkpoint_file.h"
#include "replay/checkpoint_testing.h"
#include "replay/chunk_builder.h"
#include "replay/testing.h"
#include "replay/wire.h"

namespace headrace {
namespace {

void Write(const std::string& test, const std::string& name, const std::string& bytes) {
  const char* const tree = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  HEADRACE_CHECK(tree != nullptr);  // it is not `bazel run` that started this
  const size_t slash = test.find('/');
  const std::string directory =
      absl::StrCat(tree, "/", test.substr(0, slash), "/testdata/fuzz/", test.substr(slash + 1));
  HEADRACE_CHECK(MakeDirectories(directory).ok());
  HEADRACE_CHECK(WriteFileAtomically(directory + "/" + name, bytes).ok());
}

std::string BytesOf(const grpc::Slice& slice) {
  return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

// The chunks of one writer, of which a fuzzed table has the first already.
class Chunks {
 public:
  explicit Chunks(std::vector<TablePattern> others = {})
      : builder_(*RowLayout::Create(TestSignature()), {.rows = 3, .stride = 1, .least_rows = 1}, std::move(others)) {}

  void Append(uint32_t lane, uint32_t rows, v1::EpisodeEnd end = v1::NOT_ENDED) {
    for (uint32_t i = 0; i < rows; ++i) {
      const TestRow row(lane, next_row_[lane]++);
      builder_.Append(lane, row.columns(), i + 1 == rows ? end : v1::NOT_ENDED);
    }
  }
  std::string Build() { return BytesOf(builder_.Build(next_sequence_++)); }

 private:
  ChunkBuilder builder_;
  std::array<uint64_t, 4> next_row_{};
  uint64_t next_sequence_ = 1;
};

std::string WithPriorities(const std::string& chunk) {
  v1::InsertRequest request;
  HEADRACE_CHECK(request.ParseFromString(chunk));
  float priority = 0.5f;
  for (v1::ItemRun& run : *request.mutable_chunk()->mutable_items()) {
    for (uint32_t i = 0; i < run.count(); ++i) run.add_priorities(priority *= 2);
  }
  const InsertMessage message = BeginInsertRequest(request.chunk(), request.data().size());
  std::memcpy(message.payload, request.data().data(), request.data().size());
  return BytesOf(message.message);
}

void WriteChunks() {
  Chunks chunks;
  chunks.Append(0, 3);
  chunks.Append(1, 2, v1::TERMINATED);
  chunks.Build();
  chunks.Append(0, 4);
  chunks.Append(2, 3);
  const std::string second = chunks.Build();
  chunks.Append(0, 2, v1::TRUNCATED);
  chunks.Append(0, 5);
  chunks.Append(1, 1);
  const std::string third = chunks.Build();
  Write("replay/wire_fuzz", "chunk", second);
  Write("replay/wire_fuzz", "chunk_with_priorities", WithPriorities(third));
  Write("replay/table_fuzz", "chunk", second);
  Write("replay/table_fuzz", "two_chunks", second + third);
  Write("replay/table_fuzz", "two_chunks_with_priorities", WithPriorities(second) + WithPriorities(third));

  Chunks shared({{"other", {.rows = 2, .stride = 1}}});
  shared.Append(0, 3);
  shared.Append(1, 2, v1::TERMINATED);
  shared.Build();
  shared.Append(0, 4);
  shared.Append(2, 3);
  Write("replay/table_fuzz", "items_of_two_tables", shared.Build());

  v1::InsertRequest open;
  *open.mutable_open()->mutable_peer() = MakePeer("run", "actor");
  open.mutable_open()->set_writer(17);
  open.mutable_open()->set_table("t");
  *open.mutable_open()->mutable_signature() = TestSignature();
  Write("replay/wire_fuzz", "open", open.SerializeAsString());
}

void WriteActRequests() {
  v1::ActRequest open;
  *open.mutable_open()->mutable_peer() = MakePeer("run", "actor");
  open.mutable_open()->mutable_observation()->set_data_type(v1::FLOAT32);
  open.mutable_open()->mutable_observation()->add_shape(3);
  open.mutable_open()->set_lanes(2);
  Write("common/act_wire_fuzz", "open", open.SerializeAsString());
  v1::ActRequest request;
  request.set_request(300);
  request.set_observations("twenty-four bytes are it");
  Write("common/act_wire_fuzz", "request", request.SerializeAsString());
}

void WriteJournal() {
  std::string journal;
  const auto add = [&](const v1::JournalEntry& entry) {
    const auto bytes = static_cast<uint16_t>(entry.ByteSizeLong());
    journal.append(reinterpret_cast<const char*>(&bytes), sizeof(bytes)).append(entry.SerializeAsString());
  };
  v1::JournalEntry create;
  create.set_run_id("run");
  *create.mutable_create() = TestSpec();
  create.mutable_create()->set_max_bytes(20 << 10);
  add(create);
  const auto add_chunks = [&](uint64_t writer, Chunks chunks) {
    for (const uint32_t lane : {0, 1, 0}) {
      chunks.Append(lane, 4, lane == 1 ? v1::TERMINATED : v1::NOT_ENDED);
      v1::JournalEntry chunk;
      chunk.set_table("t");
      chunk.set_writer(writer);
      chunk.set_request(chunks.Build());
      add(chunk);
    }
  };
  add_chunks(17, Chunks());
  Write("replay/journal_fuzz", "table", journal);
  Write("replay/journal_fuzz", "cut_off", journal.substr(0, journal.size() - 10));
  *create.mutable_create() = SpecOver("other");
  create.mutable_create()->set_max_bytes(20 << 10);
  add(create);
  add_chunks(18, Chunks({{"other", {.rows = 2, .stride = 2}}}));
  Write("replay/journal_fuzz", "table_over_another", journal);
}

void WriteSampleResponse() {
  v1::SampleResponse head;
  head.set_request(7);
  head.set_last(true);
  head.mutable_state()->set_items(12);
  head.mutable_state()->set_mass(1.5);
  for (uint64_t key = 0; key < 3; ++key) {
    head.add_keys(key);
    head.add_probabilities(0.25);
    head.add_rows(2);
  }
  const std::vector<FrameSpec> frames = {{0, 0, 200}, {0, 200, 100}, {1, 40, 60}, {2, 5, 0}};
  const SampleMessage message = BeginSampleResponse(head, frames);
  for (size_t i = 0; i < frames.size(); ++i) std::memset(message.payloads[i], static_cast<int>(i), frames[i].bytes);
  Write("replay/wire_fuzz", "sample", BytesOf(message.message));
}

// Without the checksum, which the test adds.
std::string CheckpointOf(const Shard& shard) {
  const TestDirectory directory;
  v1::CheckpointRequest request;
  request.set_name("one");
  request.set_keep(1);
  HEADRACE_CHECK(WriteCheckpoint(shard, directory.path(), request).ok());
  const std::string file = *ReadFile(CheckpointPath(directory.path(), "one"));
  return file.substr(0, file.size() - sizeof(uint64_t));
}

// Some of equal bytes, some of others.
grpc::Slice FramesChunk() {
  ChunkBuilder builder(*RowLayout::Create(FramesSpec().signature()), {.rows = 2});
  for (uint8_t row = 0; row < 6; ++row) {
    std::array<std::byte, 24> frame;
    for (size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<std::byte>(row % 2 == 0 ? row : row * i * i);
    const std::array<const std::byte*, 1> columns = {frame.data()};
    builder.Append(0, columns, row == 3 ? v1::TERMINATED : v1::NOT_ENDED);
  }
  return builder.Build(1);
}

void WriteFrames() {
  Write("replay/table_fuzz", "frames", BytesOf(FramesChunk()));
  Shard shard(3, 1 << 20, 1);
  v1::TableSpec spec = FramesSpec();
  spec.set_max_bytes(20 << 10);
  Table& table = **shard.CreateTable(MakePeer("run", "learner"), spec);
  HEADRACE_CHECK(InsertInto(table, 11, table.OpenWriter(11, 1).session, FramesChunk()).ok());
  Write("replay/checkpoint_fuzz", "frames", CheckpointOf(shard));

  v1::SampleResponse head;
  head.set_request(7);
  const std::vector<FrameSpec> frames = {
      {.slice = 0, .offset = 100, .bytes = 3 * sizeof(uint32_t) + 24 + 10, .cells = 3, .cell_bytes = 24}};
  const SampleMessage message = BeginSampleResponse(head, frames);
  std::memset(message.payloads[0], 1, frames[0].bytes);
  const uint32_t sizes[] = {0, 24, 10};
  std::memcpy(message.payloads[0], sizes, sizeof(sizes));
  // Twenty-four bytes 0, as LZ4 has them: a literal, a copy of eighteen from it, and five literals.
  const uint8_t block[] = {0x1e, 0, 1, 0, 0x50, 0, 0, 0, 0, 0};
  std::memcpy(message.payloads[0] + sizeof(sizes) + 24, block, sizeof(block));
  Write("replay/wire_fuzz", "sample_of_cells", BytesOf(message.message));
}

// The file with another header; neither has the checksum.
std::string With(const std::function<void(v1::ReplayCheckpointHeader&)>& change, const std::string& file) {
  Parts parts = Split(file + std::string(sizeof(uint64_t), '\0'));
  change(parts.header);
  const std::string changed = Join(parts);
  return changed.substr(0, changed.size() - sizeof(uint64_t));
}

// What was taken, and made the table read or write elsewhere afterwards.
void WriteWrongCheckpoints(const std::string& file) {
  using Header = v1::ReplayCheckpointHeader;
  const auto lane = [](Header& header) { return header.mutable_writers(0)->mutable_lanes(0); };
  const auto write = [&](const std::string& name, const std::function<void(Header&)>& change) {
    Write("replay/checkpoint_fuzz", name, With(change, file));
  };
  write("episode_after_newest_row", [&](Header& header) {
    lane(header)->set_in_episode(true);
    lane(header)->set_episode_first_row(lane(header)->next_row() + 100);
  });
  write("lane_before_newest_row", [&](Header& header) { lane(header)->mutable_window()->RemoveLast(); });
  write("lanes_with_one_newest_row", [&](Header& header) {
    v1::LaneCheckpoint& other = *header.mutable_writers(0)->add_lanes();
    other = *lane(header);
    other.set_lane(99);
  });
  write("infinite_highest_priority", [](Header& header) {
    header.mutable_tables(0)->mutable_state()->set_max_priority(std::numeric_limits<float>::infinity());
  });
}

// Two tables over the same rows.
void WriteSharedRowsCheckpoint() {
  Shard shard(3, 1 << 20, 1);
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20 << 10);
  Table& table = **shard.CreateTable(MakePeer("run", "learner"), spec);
  spec = SpecOver("other");
  spec.set_max_bytes(4 << 10);
  spec.set_max_items(10);
  HEADRACE_CHECK(shard.CreateTable(MakePeer("run", "learner"), spec).ok());
  TestWriter writer(&table, 11, {.rows = 3, .stride = 1}, 1, {{"other", {.rows = 2, .stride = 2}}});
  writer.Append(0, 6, v1::TERMINATED);
  writer.Append(0, 3);
  HEADRACE_CHECK(writer.Insert().ok());
  const std::string file = CheckpointOf(shard);
  Write("replay/checkpoint_fuzz", "tables_over_the_same_rows", file);
  Write("replay/checkpoint_fuzz", "table_before_its_rows",
        With([](v1::ReplayCheckpointHeader& header) { header.mutable_tables()->SwapElements(0, 1); }, file));
}

void WriteRequests() {
  const auto write = [](const std::string& name, char letter, const google::protobuf::Message& message) {
    Write("replay/request_fuzz", name, letter + message.SerializeAsString());
  };
  v1::TableSpec spec = TestSpec();
  write("table", 't', spec);
  spec.set_remover(v1::MINIMUM_PRIORITY);
  spec.set_context_rows(2);
  write("table_with_context", 't', spec);
  write("table_of_frames", 't', FramesSpec());

  v1::SampleOpen open;
  open.set_table("t");
  v1::ColumnSlice& slice = *open.add_slices();
  slice.set_column("observation");
  slice.set_rows(2);
  write("open", 'o', open);
  slice.set_stride(3);
  write("open_with_stride", 'o', open);
  slice.set_rows(UINT32_MAX);
  slice.set_stride(UINT32_MAX);
  write("open_beyond_its_items", 'o', open);

  v1::UpdatePrioritiesRequest priorities;
  priorities.set_incarnation(1);
  for (uint64_t slot = 0; slot < 8; ++slot) {
    priorities.add_keys(uint64_t{1} << 32 | slot);
    priorities.add_priorities(0);
  }
  write("priorities_of_zero", 'p', priorities);
  priorities.set_priorities(3, std::numeric_limits<float>::infinity());
  write("priority_without_end", 'p', priorities);

  v1::CoordinateRequest coordinate;
  coordinate.set_insert_limit(1000);
  coordinate.set_notify_at(5);
  write("coordinate", 'c', coordinate);
}

void WriteCheckpoints() {
  Shard shard(3, 1 << 20, 1);
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(20 << 10);
  Table& table = **shard.CreateTable(MakePeer("run", "learner"), spec);
  TestWriter first(&table, 11, {.rows = 3, .stride = 1});
  first.Append(0, 6, v1::TERMINATED);
  first.Append(0, 3);
  first.Append(1, 5);
  HEADRACE_CHECK(first.Insert().ok());
  Write("replay/checkpoint_fuzz", "table", CheckpointOf(shard));
  WriteWrongCheckpoints(CheckpointOf(shard));

  spec.set_name("prioritized");
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_remover(v1::MINIMUM_PRIORITY);
  spec.set_priority_exponent(0.6);
  spec.set_max_items(20);
  spec.set_max_times_sampled(5);
  Table& prioritized = **shard.CreateTable(MakePeer("run", "learner"), spec);
  TestWriter second(&prioritized, 12, {.rows = 2, .stride = 1}, /*first_sequence=*/3);
  second.Append(0, 5, v1::TRUNCATED);
  second.Append(2, 5);
  HEADRACE_CHECK(second.Insert().ok());
  Table::Batch batch;
  HEADRACE_CHECK(prioritized.Sample({3, 1, 1}, batch, {&prioritized, [] {}}).ok());
  HEADRACE_CHECK(prioritized.UpdatePriorities(1, {{batch.items()[0].key}}, {{7.5f}}).ok());
  batch = Table::Batch();
  Write("replay/checkpoint_fuzz", "two_tables", CheckpointOf(shard));
}

void WriteWeights() {
  const std::string floats(24, '\1');
  const std::string file = *WriteSafetensors({{"policy/w", SafetensorsType::kF32, {2, 3}, floats},
                                              {"count", SafetensorsType::kI64, {}, floats.substr(0, 8)},
                                              {"flags", SafetensorsType::kBool, {0, 7}, {}}},
                                             {{"step", "7"}});
  Write("common/safetensors_fuzz", "policy", file);
  const std::string header = "{\"x\":{\"shape\":[[[[1]]]]}}";
  Write("common/safetensors_fuzz", "lists_in_lists", static_cast<char>(header.size()) + std::string(7, '\0') + header);
  Write("common/safetensors_fuzz", "empty", *WriteSafetensors({}, {}));

  std::string frames;
  for (const bool first : {true, false}) {
    v1::WeightsFrame frame;
    if (first) {
      frame.mutable_header()->set_version(9);
      frame.mutable_header()->set_run_id("run");
      frame.mutable_header()->set_env_steps(4000);
      frame.mutable_header()->set_bytes(40);
    }
    frame.set_data(file.substr(first ? 0 : 20, 20));
    frames += static_cast<char>(frame.ByteSizeLong()) + frame.SerializeAsString();
  }
  Write("actor/weights_assembler_fuzz", "version", frames);
  Write("actor/weights_assembler_fuzz", "two_versions", frames + frames);
}

}  // namespace
}  // namespace headrace

int main() {
  using namespace headrace;
  WriteActRequests();
  WriteChunks();
  WriteJournal();
  WriteSampleResponse();
  WriteRequests();
  WriteCheckpoints();
  WriteSharedRowsCheckpoint();
  WriteFrames();
  WriteWeights();
}
