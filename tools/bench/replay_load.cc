#include "tools/bench/replay_load.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/grpc_server.h"
#include "common/huge_pages.h"
#include "common/metrics.h"
#include "common/protocol.h"
#include "common/random.h"
#include "common/rpc_metrics.h"
#include "replay/service.h"
#include "replay/shard.h"

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kSendsOfACall = 16;  // of Inserting::Measure, at least

}  // namespace

double Since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void PrintHeading() { absl::PrintF("%-52s %14s %-16s %14s %8s\n", "figure", "value", "unit", "reference", "ratio"); }

void PrintFigure(bool json, const std::string& name, const std::string& unit, double value, double reference) {
  if (json) {
    absl::PrintF("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"reference\": %.6g, \"ratio\": %.3f}\n", name,
                 value, unit, reference, value / reference);
  } else {
    absl::PrintF("%-52s %14.4g %-16s %14.4g %8.2f\n", name, value, unit, reference, value / reference);
  }
  std::fflush(stdout);
}

v1::Signature TransitionSignature(uint32_t observation, uint32_t action) {
  v1::Signature signature;
  const auto add = [&](const char* name, v1::DataType type, uint32_t elements) {
    v1::Column& column = *signature.add_columns();
    column.set_name(name);
    column.set_data_type(type);
    if (elements > 0) column.add_shape(elements);
  };
  add("observation", v1::FLOAT32, observation);
  add("action", v1::FLOAT32, action);
  add("reward", v1::FLOAT32, 0);
  add("terminated", v1::UINT8, 0);
  add("truncated", v1::UINT8, 0);
  add("policy_version", v1::INT64, 0);
  return signature;
}

v1::TableSpec TransitionTable(const v1::Signature& signature, v1::Selector sampler, uint64_t max_bytes) {
  v1::TableSpec table;
  table.set_name("t");
  *table.mutable_signature() = signature;
  table.set_sampler(sampler);
  table.set_remover(v1::FIRST_IN_FIRST_OUT);
  table.set_max_bytes(max_bytes);
  table.set_max_item_rows(2);
  table.set_initial_insert_limit(UINT64_MAX / 2);
  return table;
}

void ServeShard(uint64_t budget_bytes, const Security& security, const std::string& checkpoints) {
  PinTo(1);
  TuneAllocatorForStreaming();
  Shard shard(0, budget_bytes, 1);
  MetricRegistry registry("replay");
  const RpcMetrics rpcs(registry);
  const std::unique_ptr<grpc::Service> service = MakeReplayService(&shard, checkpoints);
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Start("127.0.0.1:0", {service.get()}, &rpcs, security);
  ServeForParent(server->address());
}

void CreateTable(const ServerProcess& server, const v1::TableSpec& table) {
  // A sampler that asks for nothing.
  ReplaySamplerOptions options;
  std::vector<std::byte> block(4);
  options.addresses = {server.address()};
  options.peer = MakePeer("run", "learner");
  options.table = table;
  v1::ColumnSlice& slice = options.slices.emplace_back();
  slice.set_column("reward");
  slice.set_rows(1);
  options.batch_size = 1;
  options.ratio = {.updates_per_step = 1e-9, .min_steps = UINT64_MAX / 4, .lead_steps = UINT64_MAX / 4};
  options.slots = {{std::span<std::byte>(block)}};
  const std::unique_ptr<ReplaySampler> sampler = *ReplaySampler::Start(options);
  HEADRACE_CHECK(sampler->WaitConnected(Clock::now() + std::chrono::seconds(10)));
}

Inserting::Inserting(const ServerProcess& server, const v1::Signature& signature, uint32_t steps_at_a_time)
    : server_(server), steps_at_a_time_(steps_at_a_time) {
  const RowLayout layout = *RowLayout::Create(signature);
  row_.resize(layout.payload_bytes());
  size_t offset = 0;
  for (const auto& column : layout.columns()) {
    columns_.push_back(row_.data() + offset);
    offset += column.bytes;
  }
  ReplayWriterOptions options;
  options.address = server.address();
  options.peer = MakePeer("run", "writer");
  static uint64_t writers = 0;  // a shard would take one with the number of another for that one, come back
  options.writer = ++writers;
  options.table = "t";
  options.signature = signature;
  options.chunk_rows = steps_at_a_time;
  writer_ = *ReplayWriter::Start(options);
}

void Inserting::SendChunk() {
  for (uint32_t i = 0; i < steps_at_a_time_; ++i) writer_->Append(0, columns_, v1::NOT_ENDED);
  HEADRACE_CHECK(writer_->Send(Clock::now() + std::chrono::seconds(10)).ok());
}

void Inserting::SendOnce() {
  SendChunk();
  HEADRACE_CHECK(writer_->Drain(Clock::now() + std::chrono::seconds(10)).ok());
  steps_ += steps_at_a_time_;
}

Inserting::Rate Inserting::Measure(double seconds) {
  const double cpu = server_.CpuSeconds();
  const Clock::time_point begin = Clock::now();
  uint64_t steps = 0;
  do {
    for (uint64_t send = 0; send < kSendsOfACall; ++send) {
      SendChunk();
      steps += steps_at_a_time_;
    }
  } while (Since(begin) < seconds);
  HEADRACE_CHECK(writer_->Drain(Clock::now() + std::chrono::seconds(10)).ok());
  steps_ += steps;
  return {static_cast<double>(steps) / Since(begin), (server_.CpuSeconds() - cpu) / static_cast<double>(steps)};
}

uint64_t Fill(const ServerProcess& server, const v1::Signature& signature, uint64_t steps) {
  constexpr uint64_t kMostAtATime = 512;
  const uint64_t calls = (steps + kMostAtATime * kSendsOfACall - 1) / (kMostAtATime * kSendsOfACall);
  const uint64_t steps_at_a_time = (steps + calls * kSendsOfACall - 1) / (calls * kSendsOfACall);
  Inserting inserting(server, signature, static_cast<uint32_t>(steps_at_a_time));
  while (inserting.steps() < steps) inserting.Measure(0);
  return inserting.steps();
}

Sampling::Sampling(const std::vector<const ServerProcess*>& servers, const v1::TableSpec& table, size_t in_flight) {
  ReplaySamplerOptions options;
  for (const ServerProcess* const server : servers) options.addresses.push_back(server->address());
  options.peer = MakePeer("run", "learner");
  options.table = table;
  const RowLayout layout = *RowLayout::Create(table.signature());
  memory_.resize(in_flight);
  for (const auto& column : layout.columns()) {
    v1::ColumnSlice& slice = options.slices.emplace_back();
    slice.set_column(column.name);
    slice.set_rows(column.name == "observation" ? 2 : 1);
    for (std::vector<std::vector<std::byte>>& slot : memory_) slot.emplace_back(column.bytes * slice.rows() * kBatch);
  }
  for (auto& slot : memory_) options.slots.emplace_back(slot.begin(), slot.end());
  for (const std::vector<std::byte>& block : memory_[0]) batch_bytes_ += block.size();
  options.batch_size = kBatch;
  options.ratio = {.updates_per_step = 1e6, .min_steps = 1, .lead_steps = UINT64_MAX / 4};
  options.seed = 7;
  sampler_ = *ReplaySampler::Start(std::move(options));
  HEADRACE_CHECK(sampler_->WaitConnected(Clock::now() + std::chrono::seconds(10)));
}

double Sampling::Measure(double seconds, std::vector<double>* latencies) {
  const Clock::time_point begin = Clock::now();
  const uint64_t before = batches_;
  Clock::time_point asked = begin;
  do {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler_->Next(Clock::now() + std::chrono::seconds(10));
    HEADRACE_CHECK(filled.ok());
    if (latencies != nullptr) latencies->push_back(Since(asked));
    asked = Clock::now();
    sampler_->Done(filled->slot, 0);
    ++batches_;
  } while (Since(begin) < seconds);
  return static_cast<double>(batches_ - before) / Since(begin);
}

double GatherSeconds(size_t row_bytes, size_t rows, double seconds) {
  constexpr size_t kAhead = 12;
  const size_t stride = (row_bytes + 4 + 7) / 8 * 8;
  std::vector<std::byte, HugePageAllocator<std::byte>> memory(rows * stride, std::byte{1});
  std::vector<std::byte> batch(size_t{kBatch} * 2 * stride);
  RandomStream random(1);
  std::vector<size_t> indices(kBatch);
  uint64_t batches = 0;
  double spent = 0;
  while (spent < seconds || batches == 0) {
    for (size_t& index : indices) index = random.Below(rows - 1);
    const Clock::time_point begin = Clock::now();
    for (size_t i = 0; i < kBatch; ++i) {
      if (i + kAhead < kBatch) {
        const std::byte* const next = memory.data() + indices[i + kAhead] * stride;
        for (size_t line = 0; line < 2 * stride; line += 64) __builtin_prefetch(next + line);
      }
      std::memcpy(batch.data() + i * 2 * stride, memory.data() + indices[i] * stride, 2 * stride);
    }
    spent += Since(begin);
    ++batches;
  }
  return spent / static_cast<double>(batches);
}

}  // namespace headrace
