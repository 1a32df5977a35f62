// A shard's checkpoint file. The checksum is put right, so that it is the contents which are refused; what is taken can
// be used.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/checksum.h"
#include "common/fuzz_files.h"
#include "common/protocol.h"
#include "google/protobuf/message.h"
#include "replay/checkpoint.h"
#include "replay/checkpoint_file.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace headrace {
namespace {

constexpr uint64_t kBudget = 64 << 10;
constexpr size_t kLengthAt = 16;  // after the magic
constexpr size_t kHeaderAt = kLengthAt + sizeof(uint64_t);

// Every item's rows, which are there, and can be copied.
std::vector<RowStore::Address> RowsOfItems(const Table& table, const Table::Snapshot& snapshot) {
  std::vector<RowStore::Address> rows;
  std::vector<std::byte> copied;
  const std::vector<Slice> slices = {{.column = 0, .first_row = 0, .rows = 1}};
  for (const Table::Books& books : snapshot.tables) {
    for (const Item& item : books.items) {
      HEADRACE_CHECK(IsPriority(item.priority));
      RowStore::Address row = item.first_row;
      for (uint16_t left = item.rows; left > 0; --left) {
        const ItemStore::Drawn one_row = {.key = 0, .first_row = row, .rows = 1, .probability = 1};
        copied.resize(table.GatheredBytes({&one_row, 1}, slices[0]));
        table.Gather({&one_row, 1}, slices, {{copied.data()}});
        rows.push_back(row);
        row = table.rows().Next(row);
      }
    }
  }
  return rows;
}

absl::Status Insert(Table& table, uint64_t writer, v1::ChunkHeader chunk, size_t rows) {
  const std::vector<uint8_t> payload(rows * table.layout().payload_bytes());  // cells are not made smaller
  for (const RowLayout::ColumnLayout& column : table.layout().columns()) {
    for (size_t row = 0; column.compressed && row < rows; ++row) {
      chunk.add_cell_bytes(static_cast<uint32_t>(column.bytes));
    }
  }
  const Table::OpenedWriter opened = table.OpenWriter(writer, /*first_sequence=*/0);
  chunk.set_sequence(opened.last_sequence + 1);
  const absl::Status status =
      table
          .Insert(writer, opened.session, chunk, ChunkPayload(std::as_bytes(std::span(payload))), {&table, [] {}},
                  [] { return 0; })
          .status();
  table.CloseWriter(writer, opened.session);
  return status;
}

// A lane goes on where it stands, with an item of as many rows as it remembers.
void GoOn(Table& table, uint64_t writer, const v1::LaneCheckpoint& lane) {
  v1::ChunkHeader chunk;
  v1::Segment& segment = *chunk.add_segments();
  segment.set_lane(lane.lane());
  segment.set_first_row(lane.next_row());
  segment.set_rows(1);
  segment.set_episode_start(!lane.in_episode());
  v1::ItemRun& run = *chunk.add_items();
  const uint64_t remembered =
      lane.in_episode() ? std::min<uint64_t>(lane.window_size(), lane.next_row() - lane.episode_first_row()) : 0;
  run.set_lane(lane.lane());
  run.set_rows(static_cast<uint32_t>(std::min<uint64_t>(remembered + 1, table.spec().max_item_rows())));
  run.set_first_row(lane.next_row() + 1 - run.rows());
  run.set_count(1);
  if (Insert(table, writer, chunk, segment.rows()).ok()) return;
  chunk.clear_items();
  Insert(table, writer, chunk, segment.rows()).IgnoreError();
}

void SampleOf(Table& table) {
  Table::Batch batch;
  table.Sample({4, 1, /*random_key=*/1}, batch, {&table, [] {}}).IgnoreError();
}

// A table with rows of its own, when those over it have been sampled.
void Use(Table& table) {
  const std::vector<v1::WriterCheckpoint> writers = table.TakeSnapshot().writers;
  for (const v1::WriterCheckpoint& writer : writers) {
    for (const v1::LaneCheckpoint& lane : writer.lanes()) {
      const Table::Snapshot before = table.TakeSnapshot();
      const std::vector<RowStore::Address> rows = RowsOfItems(table, before);
      GoOn(table, writer.writer(), lane);
      HEADRACE_CHECK(RowsOfItems(table, before) == rows);
    }
  }
  // Nothing is left that holds a row when a new writer needs them all.
  uint64_t newcomer = 1;
  const auto is_taken = [&](const v1::WriterCheckpoint& writer) { return writer.writer() == newcomer; };
  while (std::any_of(writers.begin(), writers.end(), is_taken)) ++newcomer;
  v1::ChunkHeader chunk;
  v1::Segment& segment = *chunk.add_segments();
  const bool fixed = table.layout().compressed_columns() == 0;
  segment.set_rows(
      static_cast<uint32_t>(fixed ? table.rows().max_rows() : std::max<size_t>(1, table.rows().sure_rows() / 2)));
  segment.set_episode_start(true);
  HEADRACE_CHECK(Insert(table, newcomer, chunk, segment.rows()).ok());
}

uint64_t AnotherNumber(uint64_t number, std::minstd_rand& random) {
  const uint64_t choices[] = {0, number - 1, number + 1, random() % 8, random() % 1000, random(), UINT64_MAX};
  return choices[random() % std::size(choices)];
}

// Sets one number somewhere in the message.
void ChangeNumber(google::protobuf::Message& message, std::minstd_rand& random) {
  using Field = google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const Field& field =
      *message.GetDescriptor()->field(static_cast<int>(random() % message.GetDescriptor()->field_count()));
  if (field.cpp_type() == Field::CPPTYPE_MESSAGE && !field.is_repeated()) {
    return ChangeNumber(*reflection.MutableMessage(&message, &field), random);
  }
  const int elements = field.is_repeated() ? reflection.FieldSize(message, &field) : 0;
  if (field.is_repeated() && elements == 0) return;
  const int element = field.is_repeated() ? static_cast<int>(random() % elements) : 0;
  if (field.cpp_type() == Field::CPPTYPE_MESSAGE) {
    ChangeNumber(*reflection.MutableRepeatedMessage(&message, &field, element), random);
  } else if (field.is_repeated() && field.cpp_type() == Field::CPPTYPE_UINT64) {
    const uint64_t number = reflection.GetRepeatedUInt64(message, &field, element);
    reflection.SetRepeatedUInt64(&message, &field, element, AnotherNumber(number, random));
  } else if (field.cpp_type() == Field::CPPTYPE_UINT64) {
    reflection.SetUInt64(&message, &field, AnotherNumber(reflection.GetUInt64(message, &field), random));
  } else if (field.cpp_type() == Field::CPPTYPE_UINT32 && !field.is_repeated()) {
    const uint64_t number = AnotherNumber(reflection.GetUInt32(message, &field), random);
    reflection.SetUInt32(&message, &field, static_cast<uint32_t>(number));
  } else if (field.cpp_type() == Field::CPPTYPE_BOOL) {
    reflection.SetBool(&message, &field, !reflection.GetBool(message, &field));
  }
}

// As shards do whose number has changed.
void TakeShares(const std::string& path) {
  absl::StatusOr<std::unique_ptr<CheckpointReader>> file = CheckpointReader::Open(path);
  HEADRACE_CHECK(file.ok());
  const absl::StatusOr<v1::ReplayCheckpointHeader> header = (*file)->ReadHeader();
  if (!header.ok()) return;
  v1::Redistribution redistribution;
  redistribution.set_name(header->name());
  v1::ShardFile& source = *redistribution.add_files();
  source.set_shard(header->shard());
  source.set_path(path);
  for (const uint32_t reader : {2, 3}) source.add_readers(reader);
  Shard shard(/*number=*/3, kBudget, /*incarnation=*/1);
  for (const v1::TableCheckpoint& table : header->tables()) {
    const absl::StatusOr<Table*> created =
        shard.CreateTable(MakePeer(header->run_id(), "learner"), table.spec(), &redistribution);
    if (created.ok()) SampleOf(**created);
  }
}

}  // namespace
}  // namespace headrace

// Changes a number in the header, or bytes of the header, and then its length, or bytes of what follows it: other
// changes seldom get beyond the length.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using namespace headrace;
  uint64_t header_bytes = 0;
  if (size >= kHeaderAt) std::memcpy(&header_bytes, data + kLengthAt, sizeof(header_bytes));
  std::minstd_rand random(seed);
  if (size < kHeaderAt || header_bytes > size - kHeaderAt || random() % 16 == 0) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  uint8_t* const header = data + kHeaderAt;
  const std::vector<uint8_t> rest(header + header_bytes, data + size);
  const size_t max_header_bytes = max_size - kHeaderAt - rest.size();
  v1::ReplayCheckpointHeader message;
  if (random() % 4 == 0) {
    return size - rest.size() + LLVMFuzzerMutate(header + header_bytes, rest.size(), max_size - (size - rest.size()));
  }
  if (random() % 4 == 0 || !message.ParseFromArray(header, static_cast<int>(header_bytes))) {
    header_bytes = LLVMFuzzerMutate(header, header_bytes, max_header_bytes);
  } else {
    ChangeNumber(message, random);
    if (message.ByteSizeLong() > max_header_bytes) return size;
    header_bytes = message.ByteSizeLong();
    message.SerializeToArray(header, static_cast<int>(header_bytes));
  }
  std::memcpy(data + kLengthAt, &header_bytes, sizeof(header_bytes));
  std::copy(rest.begin(), rest.end(), header + header_bytes);
  return kHeaderAt + header_bytes + rest.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  std::string file(reinterpret_cast<const char*>(data), size);
  const uint64_t checksum = Checksum(file);
  file.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  WriteFuzzFile(FuzzDirectory() + "/fuzz.replay", file);
  Shard shard(/*number=*/3, kBudget, /*incarnation=*/1);
  HEADRACE_CHECK(RestoreNewest(FuzzDirectory(), shard).ok());
  for (Table* const table : shard.Tables()) SampleOf(*table);
  for (Table* const table : shard.Tables()) {
    if (table->spec().over().empty()) Use(*table);
  }
  TakeShares(FuzzDirectory() + "/fuzz.replay");
  return 0;
}
