// What the tests of this package share: rows whose contents say which row they are, and tables to put them into.
#ifndef HEADRACE_REPLAY_TESTING_H_
#define HEADRACE_REPLAY_TESTING_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/support/slice.h"
#include "proto/replay.pb.h"
#include "replay/chunk_builder.h"
#include "replay/table.h"

namespace headrace {

// observation FLOAT32 [2], action FLOAT32 [], reward FLOAT64 [], terminated UINT8 []: 21 bytes.
v1::Signature TestSignature();
// A table "t" of 1 MiB with that signature, uniform over all items, oldest removed first, items of up to 4 rows, and no
// insert limit.
v1::TableSpec TestSpec();

// A table "frames" with a compressed column alone: frame UINT8 [24].
v1::TableSpec FramesSpec();

// Row `row` of `lane`: every column says so.
struct TestRow {
  TestRow(uint32_t lane, uint64_t row);

  std::array<const std::byte*, 4> columns() const;
  bool operator==(const TestRow& other) const;

  std::array<float, 2> observation;
  float action;
  double reward;
  uint8_t terminated;
};

// A table of that name over TestSpec's.
v1::TableSpec SpecOver(const std::string& name);

// Of shard 0, in its first life. `over`: the table to whose rows its items refer.
std::unique_ptr<Table> MakeTestTable(const v1::TableSpec& spec, const Table* over = nullptr);

// The first rows of the items of a batch, as (lane, row), of a table with TestSignature. UNAVAILABLE: it must be waited
// for.
using FirstRows = std::vector<std::pair<uint32_t, uint64_t>>;
absl::StatusOr<FirstRows> SampleFirstRows(
    Table& table, uint32_t count, uint64_t key = 1, Table::Callback retry = [] {});

// Inserts a message that a ChunkBuilder built. Without a `retry` the table is who waits. 0: there is no journal.
absl::StatusOr<Table::Outcome> InsertInto(Table& table, uint64_t writer, uint64_t session, const grpc::Slice& message,
                                          Table::Waiter retry = {}, uint64_t journal_entry = 0);

// One writer of a table, in the same process: writes chunks of whole rows.
class TestWriter {
 public:
  TestWriter(Table* table, uint64_t id, ItemPattern pattern = {}, uint64_t first_sequence = 1,
             std::vector<TablePattern> others = {});
  // The table must still be there.
  ~TestWriter() { table_->StopWaiting(this); }

  // Rows of `lane`, numbered on; with an `end` the last of them is the episode's final one.
  void Append(uint32_t lane, uint32_t rows, v1::EpisodeEnd end = v1::NOT_ENDED);
  void SetPriority(std::optional<float> priority) { builder_.SetPriority(priority); }
  // What was appended, as one chunk.
  absl::StatusOr<Table::Outcome> Insert(Table::Callback retry = [] {});
  // The last chunk again, which had to wait.
  absl::StatusOr<Table::Outcome> InsertAgain(Table::Callback retry = [] {});

  uint64_t next_sequence() const { return next_sequence_; }
  const Table::OpenedWriter& opened() const { return opened_; }

 private:
  Table* const table_;
  const uint64_t id_;
  ChunkBuilder builder_;
  Table::OpenedWriter opened_;
  uint64_t next_sequence_;
  grpc::Slice message_;
  std::array<uint64_t, 8> next_row_{};  // by lane
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_TESTING_H_
