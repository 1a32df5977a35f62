#include "replay/testing.h"

#include <algorithm>
#include <span>
#include <utility>

#include "common/check.h"
#include "google/protobuf/io/coded_stream.h"
#include "replay/row_layout.h"
#include "replay/wire.h"

namespace headrace {
namespace {

template <typename T>
const std::byte* BytesAt(const T& value) {
  return reinterpret_cast<const std::byte*>(&value);
}

}  // namespace

v1::Signature TestSignature() {
  v1::Signature signature;
  const auto add = [&](const std::string& name, v1::DataType type) {
    v1::Column& column = *signature.add_columns();
    column.set_name(name);
    column.set_data_type(type);
    return &column;
  };
  add("observation", v1::FLOAT32)->add_shape(2);
  add("action", v1::FLOAT32);
  add("reward", v1::FLOAT64);
  add("terminated", v1::UINT8);
  return signature;
}

v1::TableSpec TestSpec() {
  v1::TableSpec spec;
  spec.set_name("t");
  *spec.mutable_signature() = TestSignature();
  spec.set_sampler(v1::UNIFORM);
  spec.set_remover(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_bytes(1 << 20);
  spec.set_max_item_rows(4);
  spec.set_initial_insert_limit(UINT64_MAX);
  return spec;
}

v1::TableSpec FramesSpec() {
  v1::TableSpec spec = TestSpec();
  spec.set_name("frames");
  spec.mutable_signature()->clear_columns();
  v1::Column& frame = *spec.mutable_signature()->add_columns();
  frame.set_name("frame");
  frame.set_data_type(v1::UINT8);
  frame.add_shape(24);
  frame.set_compression(v1::LZ4);
  return spec;
}

v1::TableSpec SpecOver(const std::string& name) {
  v1::TableSpec spec = TestSpec();
  spec.set_over(spec.name());
  spec.set_name(name);
  return spec;
}

std::unique_ptr<Table> MakeTestTable(const v1::TableSpec& spec, const Table* over) {
  absl::StatusOr<std::unique_ptr<Table>> table = Table::Create(spec, 0, 1, over);
  HEADRACE_CHECK(table.ok());
  if (over != nullptr) (*table)->Join();
  return *std::move(table);
}

absl::StatusOr<FirstRows> SampleFirstRows(Table& table, uint32_t count, uint64_t key, Table::Callback retry) {
  Table::Batch batch;
  const absl::StatusOr<Table::Outcome> outcome = table.Sample({count, 1, key}, batch, {&table, std::move(retry)});
  if (!outcome.ok()) return outcome.status();
  if (*outcome == Table::Outcome::kWait) return absl::UnavailableError("must wait");
  std::vector<std::array<float, 2>> observations(batch.items().size());
  const std::vector<Slice> slices = {{0, 0, 1}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(observations.data())};
  table.Gather(batch.items(), slices, blocks);
  FirstRows rows;
  for (const auto& [lane, row] : observations) rows.emplace_back(lane, row);
  return rows;
}

TestRow::TestRow(uint32_t lane, uint64_t row)
    : observation{static_cast<float>(lane), static_cast<float>(row)},
      action(static_cast<float>(row) + 0.5f),
      reward(lane * 1e6 + static_cast<double>(row)),
      terminated(static_cast<uint8_t>(row % 251)) {}

std::array<const std::byte*, 4> TestRow::columns() const {
  return {BytesAt(observation), BytesAt(action), BytesAt(reward), BytesAt(terminated)};
}

bool TestRow::operator==(const TestRow& other) const {
  return observation == other.observation && action == other.action && reward == other.reward &&
         terminated == other.terminated;
}

absl::StatusOr<Table::Outcome> InsertInto(Table& table, uint64_t writer, uint64_t session, const grpc::Slice& message,
                                          Table::Waiter retry, uint64_t journal_entry) {
  if (retry.owner == nullptr) retry = {&table, [] {}};
  google::protobuf::io::CodedInputStream in(message.begin(), static_cast<int>(message.size()));
  v1::InsertRequest head;
  size_t payload_bytes;
  if (absl::Status status = ReadInsertRequest(in, message.size(), head, payload_bytes); !status.ok()) return status;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(message.begin(), message.size()));
  const std::span<const std::byte> payload = bytes.subspan(static_cast<size_t>(in.CurrentPosition()));
  return table.Insert(writer, session, head.chunk(),
                      ChunkPayload(payload.first(std::min(payload_bytes, payload.size()))), std::move(retry),
                      [&] { return journal_entry; });
}

TestWriter::TestWriter(Table* table, uint64_t id, ItemPattern pattern, uint64_t first_sequence,
                       std::vector<TablePattern> others)
    : table_(table),
      id_(id),
      builder_(*RowLayout::Create(table->spec().signature()), pattern, std::move(others)),
      opened_(table->OpenWriter(id, first_sequence)),
      next_sequence_(first_sequence) {}

void TestWriter::Append(uint32_t lane, uint32_t rows, v1::EpisodeEnd end) {
  for (uint32_t i = 0; i < rows; ++i) {
    const TestRow row(lane, next_row_[lane]++);
    builder_.Append(lane, row.columns(), i + 1 == rows ? end : v1::NOT_ENDED);
  }
}

absl::StatusOr<Table::Outcome> TestWriter::Insert(Table::Callback retry) {
  message_ = builder_.Build(next_sequence_++);
  return InsertAgain(std::move(retry));
}

absl::StatusOr<Table::Outcome> TestWriter::InsertAgain(Table::Callback retry) {
  return InsertInto(*table_, id_, opened_.session, message_, {this, std::move(retry)});
}

}  // namespace headrace
