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
using Bytes = std::vector<uint8_t>;

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

// An input, which ends before the checksum.
struct Parts {
  bool header_is_last = false;
  Bytes header;
  Bytes tables;
};

constexpr size_t kLengthBytes = sizeof(uint64_t);
constexpr size_t kMostSurroundings = kCheckpointMagic.size() + 3 * kLengthBytes;

uint64_t LengthAt(const uint8_t* data) {
  uint64_t length;
  std::memcpy(&length, data, sizeof(length));
  return length;
}

// False: it has no header where one should be.
bool Split(std::span<const uint8_t> input, Parts& parts) {
  const size_t after = kCheckpointMagic.size() + kLengthBytes;
  if (input.size() < after + kLengthBytes) return false;
  uint64_t length = LengthAt(input.data() + kCheckpointMagic.size());
  std::span<const uint8_t> rest = input.subspan(after);
  parts.header_is_last = length == kHeaderIsLast;
  if (parts.header_is_last) {
    if (rest.size() < 2 * kLengthBytes) return false;
    length = LengthAt(rest.data() + rest.size() - kLengthBytes);
    rest = rest.first(rest.size() - 2 * kLengthBytes);
  }
  if (length > rest.size()) return false;
  const size_t header_at = parts.header_is_last ? rest.size() - length : 0;
  parts.header.assign(rest.begin() + header_at, rest.begin() + header_at + length);
  rest = parts.header_is_last ? rest.first(header_at) : rest.subspan(length);
  parts.tables.assign(rest.begin(), rest.end());
  return true;
}

// Returns how many bytes it has.
size_t Join(const Parts& parts, uint8_t* data) {
  uint8_t* end = std::ranges::copy(kCheckpointMagic, data).out;
  const auto append_number = [&](uint64_t number) {
    std::memcpy(end, &number, sizeof(number));
    end += sizeof(number);
  };
  append_number(parts.header_is_last ? kHeaderIsLast : parts.header.size());
  if (!parts.header_is_last) end = std::ranges::copy(parts.header, end).out;
  end = std::ranges::copy(parts.tables, end).out;
  if (parts.header_is_last) {
    end = std::ranges::copy(parts.header, end).out;
    append_number(Checksum({reinterpret_cast<const char*>(parts.header.data()), parts.header.size()}));
    append_number(parts.header.size());
  }
  return static_cast<size_t>(end - data);
}

void Mutate(Bytes& bytes, size_t max_size) {
  const size_t size = bytes.size();
  bytes.resize(max_size);
  bytes.resize(LLVMFuzzerMutate(bytes.data(), size, max_size));
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

// Changes a number in the header, or bytes of the header, and then its length, or bytes of the tables: other changes
// seldom get beyond the length.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using namespace headrace;
  std::minstd_rand random(seed);
  Parts parts;
  if (!Split({data, size}, parts) || random() % 16 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const size_t room = max_size - std::min(max_size, kMostSurroundings);
  if (parts.header.size() + parts.tables.size() > room) return size;
  v1::ReplayCheckpointHeader message;
  if (random() % 4 == 0) {
    Mutate(parts.tables, room - parts.header.size());
  } else if (random() % 4 == 0 || !message.ParseFromArray(parts.header.data(), static_cast<int>(parts.header.size()))) {
    Mutate(parts.header, room - parts.tables.size());
  } else {
    ChangeNumber(message, random);
    if (message.ByteSizeLong() > room - parts.tables.size()) return size;
    parts.header.resize(message.ByteSizeLong());
    message.SerializeToArray(parts.header.data(), static_cast<int>(parts.header.size()));
  }
  return Join(parts, data);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  std::string file(reinterpret_cast<const char*>(data), size);
  const uint64_t checksum = Checksum(file);
  file.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  WriteFuzzFile(FuzzDirectory() + "/fuzz.replay", file);
  Shard shard(/*number=*/3, kBudget, /*incarnation=*/1);
  if (const absl::StatusOr<std::string> restored = RestoreNewest(FuzzDirectory(), shard); !restored.ok()) {
    HEADRACE_CHECK(absl::IsResourceExhausted(restored.status()));
    return 0;
  }
  for (Table* const table : shard.Tables()) SampleOf(*table);
  for (Table* const table : shard.Tables()) {
    if (table->spec().over().empty()) Use(*table);
  }
  TakeShares(FuzzDirectory() + "/fuzz.replay");
  return 0;
}
