// Requests to a shard that has a table. An input is a letter and the message that it stands for: t TableSpec, o
// SampleOpen, p UpdatePrioritiesRequest, c CoordinateRequest.
#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "common/check.h"
#include "replay/sample_plan.h"
#include "replay/table.h"
#include "replay/table_plan.h"
#include "replay/testing.h"

namespace headrace {
namespace {

constexpr uint32_t kBatch = 3;

std::unique_ptr<Table> MakeFilledTable() {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_remover(v1::PROPORTIONAL);
  spec.set_max_items(6);
  std::unique_ptr<Table> table = MakeTestTable(spec);
  TestWriter writer(table.get(), 1, {.rows = 4, .stride = 1});
  writer.Append(0, 8, v1::TERMINATED);
  HEADRACE_CHECK(writer.Insert().ok());
  return table;
}

void SampleAsPlanned(Table& table, const SamplePlan& plan) {
  Table::Batch batch;
  const absl::StatusOr<Table::Outcome> outcome = table.Sample({kBatch, plan.rows_needed, 1}, batch, {&batch, [] {}});
  if (!outcome.ok() || *outcome == Table::Outcome::kWait) return;
  // Each of exactly its size, so that a step beyond it is seen.
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::byte*> blocks;
  for (const Slice& slice : plan.slices) {
    memory.emplace_back(table.GatheredBytes(batch.items(), slice));
    blocks.push_back(memory.back().data());
  }
  table.Gather(batch.items(), plan.slices, blocks);
}

void Open(const v1::SampleOpen& open) {
  const std::unique_ptr<Table> table = MakeFilledTable();
  const absl::StatusOr<SamplePlan> plan = PlanSample(open, *table);
  if (!plan.ok()) return;
  HEADRACE_CHECK(plan->item_bytes > 0 && plan->item_bytes <= kMaxItemBytes && plan->rows_needed > 0);
  SampleAsPlanned(*table, *plan);
}

void UpdatePriorities(const v1::UpdatePrioritiesRequest& request) {
  const std::unique_ptr<Table> table = MakeFilledTable();
  const std::span<const uint64_t> keys(request.keys().data(), static_cast<size_t>(request.keys_size()));
  const std::span<const float> priorities(request.priorities().data(), static_cast<size_t>(request.priorities_size()));
  (void)table->UpdatePriorities(request.incarnation(), keys, priorities);
  // More than there is place for: items go by the priorities they have now, and what is left can be drawn.
  TestWriter writer(table.get(), 2, {.rows = 4, .stride = 1});
  writer.Append(0, 20, v1::TERMINATED);
  HEADRACE_CHECK(writer.Insert().ok());
  HEADRACE_CHECK(table->State().items() == table->spec().max_items());
  SampleAsPlanned(*table, {.slices = {{.column = 0, .first_row = 0, .rows = 4}}, .rows_needed = 4});
}

void Coordinate(const v1::CoordinateRequest& request) {
  const std::unique_ptr<Table> table = MakeFilledTable();
  table->SetInsertLimit(request.insert_limit(), request.policy_version());
  table->WatchOnce(request.notify_at(), {&request, [] {}});
  TestWriter writer(table.get(), 2);
  writer.Append(0, 4, v1::TERMINATED);
  HEADRACE_CHECK(writer.Insert().ok());
  table->StopWaiting(&request);
}

void Create(v1::TableSpec spec) {
  if (!PlanTable(spec).ok()) return;
  // So much more memory would not be another case.
  spec.set_max_bytes(std::min<uint64_t>(spec.max_bytes(), 1 << 20));
  const absl::StatusOr<std::unique_ptr<Table>> table = Table::Create(spec, /*shard=*/0, /*incarnation=*/1);
  if (table.ok()) HEADRACE_CHECK((*table)->item_capacity() > 0);
}

}  // namespace
}  // namespace headrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  if (size == 0) return 0;
  const auto parse = [&](google::protobuf::Message& message) {
    return message.ParseFromArray(data + 1, static_cast<int>(size - 1));
  };
  v1::TableSpec spec;
  v1::SampleOpen open;
  v1::UpdatePrioritiesRequest priorities;
  v1::CoordinateRequest coordinate;
  if (data[0] == 't' && parse(spec)) Create(std::move(spec));
  if (data[0] == 'o' && parse(open)) Open(open);
  if (data[0] == 'p' && parse(priorities)) UpdatePriorities(priorities);
  if (data[0] == 'c' && parse(coordinate)) Coordinate(coordinate);
  return 0;
}
