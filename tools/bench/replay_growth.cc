// What sampling an item costs as a table grows, what several shards bring, and what memory an item takes.
//
//   replay_growth [--json] [--seconds=1] [--rounds=5] [--most_items=10000000] [--part=items|shards]
//
// Items are transitions of 90 bytes over six columns, batches have 256, and 8 are in flight. Each shard is a process,
// all of them on the second core where there are two; the client has the first.
//
//   sample     processor time of the shard for an item, at 10^3 items, 10^4, ... up to --most_items, uniform and in
//              proportion to priorities. Its reference is what it would be if it grew as a bare gather of the same rows
//              from as much memory does: its time at 10^3 items, and what the gather takes longer here than there.
//   gather     that bare gather; its reference is the one at 10^3 items.
//   memory     what the shard's process has grown by, of the most items: for each item beyond the payload, and for each
//              byte of payload. The references are the limits: 1.05 times the payload and 32 bytes an item.
//   shards     1, 2 and 4 of them with a tenth of the most items in all: steps inserted and batches sampled a second,
//              and the processor time of all shards for a step and for an item. The references are those of one shard.
//
// Figures are medians of rounds; rounds of what is compared alternate.
//
// Output: a table, or with --json one object a line: name, value, unit, reference, ratio = value / reference.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_format.h"
#include "common/grpc_server.h"
#include "common/security.h"
#include "replay/item_store.h"
#include "replay/row_layout.h"
#include "tools/bench/replay_load.h"
#include "tools/bench/server_process.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(double, seconds, 1, "seconds for each round");
ABSL_FLAG(int, rounds, 5, "rounds of each figure; the median counts");
ABSL_FLAG(uint64_t, most_items, 10'000'000, "of the largest table");
ABSL_FLAG(std::string, part, "", "items or shards: only that; default: all");
ABSL_FLAG(std::string, serve, "", "for the processes that are measured: shard");

namespace headrace {
namespace {

constexpr uint64_t kLeastItems = 1000;
constexpr uint64_t kBudget = uint64_t{16} << 30;
constexpr uint32_t kStepsAtATime = 512;

void Report(const std::string& name, const std::string& unit, double value, double reference) {
  PrintFigure(absl::GetFlag(FLAGS_json), "replay_growth/" + name, unit, value, reference);
}

std::string NameOf(v1::Selector selector) { return selector == v1::UNIFORM ? "uniform" : "prioritised"; }

v1::Signature MakeSignature() { return TransitionSignature(17, 2); }

// Larger than what it will hold: nothing is removed.
v1::TableSpec TableOf(uint64_t items, v1::Selector selector) {
  const RowLayout layout = *RowLayout::Create(MakeSignature());
  return TransitionTable(
      MakeSignature(), selector,
      2 * items * (layout.stride() + ItemStore::BookBytes(selector, v1::FIRST_IN_FIRST_OUT)) + (uint64_t{64} << 20));
}

// A shard with so many items, and those who draw batches from it.
class Filled {
 public:
  Filled(uint64_t items, v1::Selector selector)
      : table_(TableOf(items, selector)), shard_("shard"), empty_bytes_(shard_.ResidentBytes()) {
    CreateTable(shard_, table_);
    items_ = Fill(shard_, table_.signature(), items);
    stored_bytes_ = shard_.ResidentBytes() - std::min(empty_bytes_, shard_.ResidentBytes());
  }
  // Seconds of the shard's processor for an item.
  double SampleSeconds(double seconds) {
    Sampling sampling({&shard_}, table_, 8);
    sampling.Measure(seconds / 4);
    const double cpu = shard_.CpuSeconds();
    const uint64_t before = sampling.batches();
    sampling.Measure(seconds);
    return (shard_.CpuSeconds() - cpu) / static_cast<double>((sampling.batches() - before) * kBatch);
  }
  double items() const { return static_cast<double>(items_); }
  double stored_bytes() const { return static_cast<double>(stored_bytes_); }

 private:
  const v1::TableSpec table_;
  const ServerProcess shard_;
  const uint64_t empty_bytes_;
  uint64_t items_ = 0;
  uint64_t stored_bytes_ = 0;
};

void BenchItems() {
  const size_t row_bytes = RowLayout::Create(MakeSignature())->payload_bytes();
  const double seconds = absl::GetFlag(FLAGS_seconds);
  const int rounds = absl::GetFlag(FLAGS_rounds);
  double least_gather = 0;
  double least_sample[2] = {};
  for (uint64_t items = kLeastItems; items <= absl::GetFlag(FLAGS_most_items); items *= 10) {
    Filled uniform(items, v1::UNIFORM);
    Filled prioritised(items, v1::PROPORTIONAL);
    std::vector<double> gathers;
    std::vector<double> samples[2];
    for (int round = 0; round < rounds; ++round) {
      gathers.push_back(GatherSeconds(row_bytes, items, seconds) / kBatch);
      samples[0].push_back(uniform.SampleSeconds(seconds));
      samples[1].push_back(prioritised.SampleSeconds(seconds));
    }
    const double gather = Median(gathers);
    if (items == kLeastItems) least_gather = gather;
    Report(absl::StrFormat("gather/%d_items", items), "ns/item", 1e9 * gather, 1e9 * least_gather);
    for (const v1::Selector selector : {v1::UNIFORM, v1::PROPORTIONAL}) {
      const int which = selector == v1::UNIFORM ? 0 : 1;
      const double sample = Median(samples[which]);
      if (items == kLeastItems) least_sample[which] = sample;
      Report(absl::StrFormat("sample/%s/%d_items/server_cpu", NameOf(selector), items), "ns/item", 1e9 * sample,
             1e9 * (least_sample[which] + std::max(0.0, gather - least_gather)));
      if (items * 10 <= absl::GetFlag(FLAGS_most_items)) continue;
      const Filled& filled = selector == v1::UNIFORM ? uniform : prioritised;
      const double payload = filled.items() * static_cast<double>(row_bytes);
      Report(absl::StrFormat("memory/%s/%d_items/beyond_payload", NameOf(selector), items), "bytes/item",
             (filled.stored_bytes() - payload) / filled.items(), 32 + 0.05 * static_cast<double>(row_bytes));
      Report(absl::StrFormat("memory/%s/%d_items/of_payload", NameOf(selector), items), "bytes/byte",
             filled.stored_bytes() / payload, 1.05 + 32 / static_cast<double>(row_bytes));
    }
  }
}

// So many shards, each with its part of the items, a writer for each and a sampler for all.
class Shards {
 public:
  struct Rate {
    double per_second;
    double server_cpu;  // seconds of all shards for each
  };

  Shards(uint64_t number, uint64_t items) : table_(TableOf(items / number, v1::UNIFORM)) {
    for (uint64_t i = 0; i < number; ++i) {
      processes_.push_back(std::make_unique<ServerProcess>("shard"));
      shards_.push_back(processes_.back().get());
      CreateTable(*shards_.back(), table_);
      Fill(*shards_.back(), table_.signature(), items / number);
      writers_.push_back(std::make_unique<Inserting>(*shards_.back(), table_.signature(), kStepsAtATime));
    }
  }
  Rate Insert(double seconds) {
    std::vector<Inserting::Rate> rates(writers_.size());
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < writers_.size(); ++i) {
        threads.emplace_back([&, i] { rates[i] = writers_[i]->Measure(seconds); });
      }
    }
    Rate all{};
    double cpu = 0;  // a second
    for (const Inserting::Rate& rate : rates) {
      all.per_second += rate.per_second;
      cpu += rate.server_cpu * rate.per_second;
    }
    all.server_cpu = cpu / all.per_second;
    return all;
  }
  Rate Sample(double seconds) {
    Sampling sampling(shards_, table_, 8);
    sampling.Measure(seconds / 4);
    const double cpu = CpuSeconds();
    const uint64_t before = sampling.batches();
    const double per_second = sampling.Measure(seconds);
    return {per_second, (CpuSeconds() - cpu) / static_cast<double>((sampling.batches() - before) * kBatch)};
  }

 private:
  double CpuSeconds() const {
    double sum = 0;
    for (const ServerProcess* const shard : shards_) sum += shard->CpuSeconds();
    return sum;
  }

  const v1::TableSpec table_;
  std::vector<std::unique_ptr<ServerProcess>> processes_;
  std::vector<const ServerProcess*> shards_;
  std::vector<std::unique_ptr<Inserting>> writers_;
};

void BenchShards() {
  constexpr uint64_t kNumbers[] = {1, 2, 4};
  const uint64_t items = absl::GetFlag(FLAGS_most_items) / 10;
  const double seconds = absl::GetFlag(FLAGS_seconds);
  std::vector<std::unique_ptr<Shards>> shards;
  for (const uint64_t number : kNumbers) shards.push_back(std::make_unique<Shards>(number, items));
  std::vector<double> steps[3], step_cpu[3], batches[3], item_cpu[3];
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    for (size_t i = 0; i < shards.size(); ++i) {
      const Shards::Rate insert = shards[i]->Insert(seconds);
      const Shards::Rate sample = shards[i]->Sample(seconds);
      steps[i].push_back(insert.per_second);
      step_cpu[i].push_back(1e9 * insert.server_cpu);
      batches[i].push_back(sample.per_second);
      item_cpu[i].push_back(1e9 * sample.server_cpu);
    }
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = absl::StrFormat("shards/%d/", kNumbers[i]);
    Report(name + "insert", "steps/s", Median(steps[i]), Median(steps[0]));
    Report(name + "insert/server_cpu", "ns/step", Median(step_cpu[i]), Median(step_cpu[0]));
    Report(name + "sample", "batches/s", Median(batches[i]), Median(batches[0]));
    Report(name + "sample/server_cpu", "ns/item", Median(item_cpu[i]), Median(item_cpu[0]));
  }
}

int Run() {
  PinTo(0);
  TuneAllocatorForStreaming();
  if (absl::GetFlag(FLAGS_most_items) < 10 * kLeastItems) {
    absl::FPrintF(stderr, "--most_items: expected %d or more, got %d\n", 10 * kLeastItems,
                  absl::GetFlag(FLAGS_most_items));
    return 2;
  }
  if (!absl::GetFlag(FLAGS_json)) PrintHeading();
  const std::string part = absl::GetFlag(FLAGS_part);
  if (part.empty() || part == "items") BenchItems();
  if (part.empty() || part == "shards") BenchShards();
  return 0;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("What sampling costs as a table grows, what shards bring, what memory items take.");
  absl::ParseCommandLine(argc, argv);
  if (absl::GetFlag(FLAGS_serve) == "shard") {
    headrace::ServeShard(headrace::kBudget, **headrace::Security::Create({}));
  }
  return headrace::Run();
}
