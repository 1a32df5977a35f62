// Chunks on their way into a table. An input is one or more InsertRequests, one after the other, the first of them
// chunk 2 of its writer, or the first chunk of frames. What a table takes it can also give.
#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "common/check.h"
#include "google/protobuf/io/coded_stream.h"
#include "replay/payload.h"
#include "replay/testing.h"
#include "replay/wire.h"

namespace headrace {
namespace {

// Few items, chosen by their priorities.
v1::TableSpec SmallSpec() {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_remover(v1::MINIMUM_PRIORITY);
  spec.set_priority_exponent(0.6);
  spec.set_max_items(5);
  spec.set_max_bytes(16 << 10);
  spec.set_max_times_sampled(3);
  return spec;
}

v1::TableSpec SmallFramesSpec() {
  v1::TableSpec spec = FramesSpec();
  spec.set_max_items(5);
  spec.set_max_bytes(16 << 10);
  return spec;
}

// A table over that one, of shorter items.
v1::TableSpec OtherSpec() {
  v1::TableSpec spec = SpecOver("other");
  spec.set_max_items(7);
  spec.set_max_item_rows(2);
  return spec;
}

void InsertAll(Table& table, uint64_t writer, uint64_t session, const uint8_t* data, size_t size) {
  google::protobuf::io::CodedInputStream in(data, static_cast<int>(size));
  while (static_cast<size_t>(in.CurrentPosition()) < size) {
    v1::InsertRequest head;
    size_t payload_bytes;
    if (!ReadInsertRequest(in, size, head, payload_bytes).ok()) return;
    const auto offset = static_cast<size_t>(in.CurrentPosition());
    if (payload_bytes > size - offset) return;
    const ChunkPayload payload(std::as_bytes(std::span(data + offset, payload_bytes)));
    in.Skip(static_cast<int>(payload_bytes));
    const absl::StatusOr<Table::Outcome> outcome =
        table.Insert(writer, session, head.chunk(), payload, {&table, [] {}}, [] { return 0; });
    if (!outcome.ok()) return;
    HEADRACE_CHECK(*outcome == Table::Outcome::kDone);
  }
}

void ReadBack(Table& table, const Table::Books& books) {
  HEADRACE_CHECK(books.state.items() == books.items.size());
  std::vector<ItemStore::Drawn> items;
  for (const Item& item : books.items) {
    HEADRACE_CHECK(item.rows >= 1 && item.rows <= table.spec().max_item_rows() && IsPriority(item.priority));
    RowStore::Address row = item.first_row;
    for (uint16_t left = item.rows; left > 1; --left) row = table.rows().Next(row);
    HEADRACE_CHECK(row < table.rows().address_end());
    items.push_back({.key = 0, .first_row = item.first_row, .rows = item.rows, .probability = 1});
  }
  const int column = static_cast<int>(table.layout().columns().size()) / 2;
  const std::vector<Slice> slices = {{.column = column, .first_row = 0, .rows = table.spec().max_item_rows()}};
  // Of exactly its size, so that a step beyond it is seen.
  std::vector<std::byte> gathered(table.GatheredBytes(items, slices[0]));
  const std::array<std::byte*, 1> blocks = {gathered.data()};
  table.Gather(items, slices, blocks);
  HEADRACE_CHECK(AllFinite(blocks[0], gathered.size(), table.layout().columns()[column].type));

  Table::Batch batch;
  for (uint64_t key = 0; key < 4; ++key) {
    const absl::StatusOr<Table::Outcome> outcome = table.Sample({2, 1, key}, batch, {&table, [] {}});
    HEADRACE_CHECK(outcome.ok());
    if (*outcome == Table::Outcome::kWait) return;
    batch = Table::Batch();
  }
}

}  // namespace
}  // namespace headrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const std::unique_ptr<Table> table = *Table::Create(SmallSpec(), /*shard=*/0, /*incarnation=*/1);
  const std::unique_ptr<Table> other = *Table::Create(OtherSpec(), /*shard=*/0, /*incarnation=*/1, table.get());
  other->Join();
  // One writer in the midst of an episode, and one whose chunk 1 is lost, so that its lanes go on anywhere.
  TestWriter first(table.get(), 1);
  first.Append(0, 3);
  first.Append(1, 2, v1::TERMINATED);
  HEADRACE_CHECK(first.Insert().ok());
  InsertAll(*table, 1, first.opened().session, data, size);
  InsertAll(*table, 2, table->OpenWriter(2, /*first_sequence=*/2).session, data, size);
  const std::unique_ptr<Table> frames = *Table::Create(SmallFramesSpec(), /*shard=*/0, /*incarnation=*/1);
  InsertAll(*frames, 1, frames->OpenWriter(1, /*first_sequence=*/1).session, data, size);
  ReadBack(*frames, frames->TakeSnapshot().tables[0]);
  const Table::Snapshot snapshot = table->TakeSnapshot();
  ReadBack(*table, snapshot.tables[0]);
  ReadBack(*other, snapshot.tables[1]);
  return 0;
}
