// Inserting into and sampling from one replay shard, beside raw gRPC streaming of the same bytes.
//
//   replay [--json] [--seconds=2] [--rounds=5] [--part=insert|sample|proportional]
//   replay --certificates=DIR
//
// Server and client are two processes, each on a core of its own where there are two. The reference is the fastest that
// gRPC offers: completion queues, byte buffers, hints, malloc's thresholds raised, and no work on either side but, for
// sampling, a bare gather of the same rows from memory, whose time is added. Rounds of both sides alternate, and each
// figure is the median of its rounds. Memory is touched before it is measured.
//
// With --certificates, a directory as `tools/headrace certificates` makes it: what mutual TLS and the token cost,
// beside the same without them.
//
// Output: a table, or with --json one object a line: name, value, unit, reference, ratio = value / reference.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/grpc_server.h"
#include "common/huge_pages.h"
#include "common/metrics.h"
#include "common/protocol.h"
#include "common/random.h"
#include "common/rpc_metrics.h"
#include "common/security.h"
#include "replay/sampler.h"
#include "replay/service.h"
#include "replay/shard.h"
#include "replay/writer.h"
#include "tools/bench/raw_stream.h"
#include "tools/bench/server_process.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(double, seconds, 2, "seconds for each round");
ABSL_FLAG(int, rounds, 5, "rounds of each figure, the two sides in turn; the median counts");
ABSL_FLAG(std::string, part, "", "insert, sample or proportional: only that; default: all");
ABSL_FLAG(std::string, certificates, "", "measure with the certificates and token of this directory, and without");
ABSL_FLAG(std::string, serve, "", "for the process that is measured: shard or raw");

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kBudget = uint64_t{2} << 30;
constexpr uint64_t kInsertBudget = uint64_t{256} << 20;
constexpr uint32_t kRawMessageRows = 728;  // of 90 bytes: 64 KiB
constexpr size_t kStoredRows = 1'000'000;
constexpr uint32_t kBatch = 256;

double Since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Six columns, `observation` floats beside 18 bytes of others.
v1::Signature MakeSignature(uint32_t observation, uint32_t action) {
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

// A row of it: where its columns begin in a block of `stride` bytes.
struct RowBytes {
  explicit RowBytes(const v1::Signature& signature) : layout(*RowLayout::Create(signature)) {
    bytes.resize(layout.payload_bytes());
    size_t offset = 0;
    for (const auto& column : layout.columns()) {
      pointers.push_back(bytes.data() + offset);
      offset += column.bytes;
    }
  }
  RowLayout layout;
  std::vector<std::byte> bytes;
  std::vector<const std::byte*> pointers;
};

v1::TableSpec MakeSpec(const v1::Signature& signature, v1::Selector sampler, uint64_t max_bytes = kBudget / 2) {
  v1::TableSpec spec;
  spec.set_name("t");
  *spec.mutable_signature() = signature;
  spec.set_sampler(sampler);
  spec.set_remover(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_bytes(max_bytes);
  spec.set_max_item_rows(2);
  spec.set_initial_insert_limit(UINT64_MAX / 2);
  return spec;
}

std::shared_ptr<const Security> OpenSecurity() {
  const std::string directory = absl::GetFlag(FLAGS_certificates);
  if (directory.empty()) return *Security::Create({});
  return *Security::Create({.certificates = directory, .token_file = directory + "/token"});
}

[[noreturn]] void Serve(const std::string& role) {
  PinTo(1);
  TuneAllocatorForStreaming();
  std::unique_ptr<RawServer> raw;
  Shard shard(0, kBudget, 1);
  MetricRegistry registry("replay");
  const RpcMetrics rpcs(registry);
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<GrpcServer> server;
  std::string address;
  if (role == "raw") {
    raw = std::make_unique<RawServer>();
    address = raw->address();
  } else {
    service = MakeReplayService(&shard, "");
    server = *GrpcServer::Start("127.0.0.1:0", {service.get()}, &rpcs, *OpenSecurity());
    address = server->address();
  }
  ServeForParent(address);
}

struct Rate {
  double per_second = 0;
  double server_cpu = 0;  // seconds for each
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void Report(const std::string& name, const std::string& unit, double value, double reference) {
  if (absl::GetFlag(FLAGS_json)) {
    absl::PrintF("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"reference\": %.6g, \"ratio\": %.3f}\n", name,
                 value, unit, reference, value / reference);
  } else {
    absl::PrintF("%-44s %14.4g %-16s %14.4g %8.2f\n", name, value, unit, reference, value / reference);
  }
  std::fflush(stdout);
}

// Steps a second through a ReplayWriter, after a round that is not counted.
class Inserting {
 public:
  Inserting(const ServerProcess& server, const v1::Signature& signature, uint32_t chunk_rows)
      : server_(server), row_(signature), chunk_rows_(chunk_rows) {
    ReplayWriterOptions options;
    options.address = server.address();
    options.peer = MakePeer("run", "writer");
    static uint64_t writers = 0;  // a shard would take one with the number of another for that one, come back
    options.writer = ++writers;
    options.table = "t";
    options.signature = signature;
    options.chunk_rows = chunk_rows;
    writer_ = *ReplayWriter::Start(options);
  }
  Rate Measure(double seconds) {
    const double cpu = server_.CpuSeconds();
    const Clock::time_point begin = Clock::now();
    uint64_t steps = 0;
    while (Since(begin) < seconds) {
      for (int chunk = 0; chunk < 16; ++chunk) {
        for (uint32_t i = 0; i < chunk_rows_; ++i) {
          writer_->Append(0, row_.pointers, v1::NOT_ENDED);
        }
        HEADRACE_CHECK(writer_->Send(Clock::now() + std::chrono::seconds(10)).ok());
        steps += chunk_rows_;
      }
    }
    HEADRACE_CHECK(writer_->Drain(Clock::now() + std::chrono::seconds(10)).ok());
    steps_ += steps;
    return {static_cast<double>(steps) / Since(begin), (server_.CpuSeconds() - cpu) / static_cast<double>(steps)};
  }
  uint64_t steps() const { return steps_; }

 private:
  const ServerProcess& server_;
  RowBytes row_;
  const uint32_t chunk_rows_;
  uint64_t steps_ = 0;
  std::unique_ptr<ReplayWriter> writer_;
};

void CreateTable(const ServerProcess& server, const v1::Signature& signature, v1::Selector selector = v1::UNIFORM,
                 uint64_t max_bytes = kBudget / 2) {
  // A sampler that asks for nothing.
  ReplaySamplerOptions options;
  std::vector<std::byte> block(4);
  options.addresses = {server.address()};
  options.peer = MakePeer("run", "learner");
  options.table = MakeSpec(signature, selector, max_bytes);
  v1::ColumnSlice& slice = options.slices.emplace_back();
  slice.set_column("reward");
  slice.set_rows(1);
  options.batch_size = 1;
  options.ratio = {.updates_per_step = 1e-9, .min_steps = UINT64_MAX / 4, .lead_steps = UINT64_MAX / 4};
  options.slots = {{std::span<std::byte>(block)}};
  const std::unique_ptr<ReplaySampler> sampler = *ReplaySampler::Start(options);
  HEADRACE_CHECK(sampler->WaitConnected(Clock::now() + std::chrono::seconds(10)));
}

void Fill(const ServerProcess& shard, const v1::Signature& signature, uint64_t rows) {
  Inserting inserting(shard, signature, 512);
  while (inserting.steps() < rows) inserting.Measure(0.1);
}

void BenchInsert() {
  const v1::Signature signature = MakeSignature(17, 2);  // 17*4 + 2*4 + 4 + 1 + 1 + 8 = 90 bytes
  const size_t row_bytes = RowBytes(signature).bytes.size();
  for (const uint32_t rows : {kRawMessageRows, 16u, 1u}) {
    const ServerProcess shard("shard"), raw("raw");
    CreateTable(shard, signature, v1::UNIFORM, kInsertBudget);
    // Until the table is full: from then on every step removes an old one, and memory that was never used is not met.
    Fill(shard, signature, kInsertBudget / row_bytes);
    Inserting inserting(shard, signature, rows);
    // The fastest way to send the same bytes: in messages of 64 KiB, whatever the writer is given at a time.
    RawSender sending(raw.address(), kRawMessageRows * row_bytes);
    const double seconds = absl::GetFlag(FLAGS_seconds);
    inserting.Measure(seconds / 2);
    sending.Measure(seconds / 2);
    std::vector<double> ours, theirs, cpu;
    for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
      const Rate rate = inserting.Measure(seconds);
      ours.push_back(rate.per_second);
      cpu.push_back(rate.server_cpu);
      theirs.push_back(sending.Measure(seconds) * kRawMessageRows);
    }
    Report(absl::StrFormat("replay/insert/%d_bytes/%d_steps_at_a_time", row_bytes, rows), "steps/s", Median(ours),
           Median(theirs));
    Report(absl::StrFormat("replay/insert/%d_bytes/%d_steps_at_a_time/server_cpu", row_bytes, rows), "ns/step",
           1e9 * Median(cpu), 20'000);
  }
}

// Batches a second with so many requests in flight.
class Sampling {
 public:
  Sampling(const ServerProcess& server, const v1::Signature& signature, size_t slots,
           v1::Selector selector = v1::UNIFORM) {
    ReplaySamplerOptions options;
    options.addresses = {server.address()};
    options.peer = MakePeer("run", "learner");
    options.table = MakeSpec(signature, selector);
    const RowLayout layout = *RowLayout::Create(signature);
    memory_.resize(slots);
    for (const auto& column : layout.columns()) {
      v1::ColumnSlice& slice = options.slices.emplace_back();
      slice.set_column(column.name);
      slice.set_rows(column.name == "observation" ? 2 : 1);
      for (std::vector<std::vector<std::byte>>& slot : memory_) {
        slot.emplace_back(column.bytes * slice.rows() * kBatch);
      }
    }
    for (auto& slot : memory_) options.slots.emplace_back(slot.begin(), slot.end());
    for (const std::vector<std::byte>& block : memory_[0]) batch_bytes_ += block.size();
    options.batch_size = kBatch;
    options.ratio = {.updates_per_step = 1e6, .min_steps = 1, .lead_steps = UINT64_MAX / 4};
    options.seed = 7;
    sampler_ = *ReplaySampler::Start(std::move(options));
    HEADRACE_CHECK(sampler_->WaitConnected(Clock::now() + std::chrono::seconds(10)));
  }
  size_t batch_bytes() const { return batch_bytes_; }
  // Also collects the time from asking to having, in seconds, when one request at a time is made.
  double Measure(double seconds, std::vector<double>* latencies = nullptr) {
    const Clock::time_point begin = Clock::now();
    uint64_t batches = 0;
    Clock::time_point asked = begin;
    while (Since(begin) < seconds) {
      const absl::StatusOr<ReplaySampler::Filled> filled = sampler_->Next(Clock::now() + std::chrono::seconds(10));
      HEADRACE_CHECK(filled.ok());
      if (latencies != nullptr) latencies->push_back(Since(asked));
      asked = Clock::now();
      sampler_->Done(filled->slot, 0);
      ++batches;
    }
    return static_cast<double>(batches) / Since(begin);
  }

 private:
  std::vector<std::vector<std::vector<std::byte>>> memory_;
  size_t batch_bytes_ = 0;
  std::unique_ptr<ReplaySampler> sampler_;
};

// Seconds that copying `batch_bytes` of kBatch random rows takes from as much memory as the table has, with a look
// ahead as the shard's.
double GatherSeconds(size_t row_bytes, double seconds) {
  constexpr size_t kAhead = 12;
  const size_t stride = (row_bytes + 4 + 7) / 8 * 8;
  std::vector<std::byte, HugePageAllocator<std::byte>> rows(kStoredRows * stride, std::byte{1});
  std::vector<std::byte> batch(size_t{kBatch} * 2 * stride);
  RandomStream random(1);
  std::vector<size_t> indices(kBatch);
  uint64_t batches = 0;
  double spent = 0;
  while (spent < seconds) {
    for (size_t& index : indices) index = random.Below(kStoredRows - 1);
    const Clock::time_point begin = Clock::now();
    for (size_t i = 0; i < kBatch; ++i) {
      if (i + kAhead < kBatch) {
        const std::byte* const next = rows.data() + indices[i + kAhead] * stride;
        for (size_t line = 0; line < 2 * stride; line += 64) __builtin_prefetch(next + line);
      }
      std::memcpy(batch.data() + i * 2 * stride, rows.data() + indices[i] * stride, 2 * stride);
    }
    spent += Since(begin);
    ++batches;
  }
  return spent / static_cast<double>(batches);
}

// Drawing in proportion to priorities, beside drawing uniformly.
void BenchProportional() {
  const v1::Signature signature = MakeSignature(17, 2);
  const ServerProcess uniform("shard"), proportional("shard");
  CreateTable(uniform, signature);
  CreateTable(proportional, signature, v1::PROPORTIONAL);
  Fill(uniform, signature, kStoredRows);
  Fill(proportional, signature, kStoredRows);
  const double seconds = absl::GetFlag(FLAGS_seconds);
  std::vector<double> ours, theirs;
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    // One after the other: what the one has prefetched must not keep the other's server busy.
    ours.push_back(Sampling(proportional, signature, 8, v1::PROPORTIONAL).Measure(seconds));
    theirs.push_back(Sampling(uniform, signature, 8).Measure(seconds));
  }
  Report(absl::StrFormat("replay/sample/%d_bytes/batches_of_%d/proportional_beside_uniform",
                         RowBytes(signature).bytes.size(), kBatch),
         "batches/s", Median(ours), Median(theirs));
}

void BenchSample() {
  for (const auto& [observation, action] : {std::pair(17u, 2u), std::pair(76u, 8u), std::pair(1000u, 8u)}) {
    const v1::Signature signature = MakeSignature(observation, action);
    const size_t row_bytes = RowBytes(signature).bytes.size();
    const ServerProcess shard("shard"), raw("raw");
    CreateTable(shard, signature);
    Fill(shard, signature, std::min<uint64_t>(kStoredRows, kBudget / 4 / row_bytes));
    Sampling pipelined(shard, signature, 8), single(shard, signature, 1);
    RawReceiver receiving(raw.address(), pipelined.batch_bytes(), 8);
    const double seconds = absl::GetFlag(FLAGS_seconds);
    const double gather = GatherSeconds(row_bytes, seconds / 4);
    pipelined.Measure(seconds / 2);
    receiving.Measure(seconds / 2);
    std::vector<double> ours, theirs, one, latencies;
    for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
      ours.push_back(pipelined.Measure(seconds));
      theirs.push_back(1 / (1 / receiving.Measure(seconds) + gather));
      one.push_back(single.Measure(seconds, &latencies));
    }
    const std::string name = absl::StrFormat("replay/sample/%d_bytes/batches_of_%d", row_bytes, kBatch);
    Report(name + "/8_in_flight", "batches/s", Median(ours), Median(theirs));
    std::sort(latencies.begin(), latencies.end());
    Report(name + "/one_at_a_time/p99", "us", 1e6 * latencies[latencies.size() * 99 / 100], 250);
    Report(name + "/one_at_a_time/p50", "us", 1e6 * latencies[latencies.size() / 2], 112);
  }
}

// One after the other: what the one has prefetched must not keep the other's server busy.
template <typename MeasureOne>
void CompareSecurity(const std::string& name, const std::string& unit, const MeasureOne& measure) {
  std::vector<double> ours, theirs;
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    SetProcessSecurity(OpenSecurity());
    ours.push_back(measure(true));
    SetProcessSecurity(*Security::Create({}));
    theirs.push_back(measure(false));
  }
  Report(name + "/mutual_tls_beside_none", unit, Median(ours), Median(theirs));
}

void BenchSecurity() {
  const double seconds = absl::GetFlag(FLAGS_seconds);
  for (const auto& [observation, action] : {std::pair(17u, 2u), std::pair(1000u, 8u)}) {
    const v1::Signature signature = MakeSignature(observation, action);
    const size_t row_bytes = RowBytes(signature).bytes.size();
    const ServerProcess closed("shard", {"--certificates=" + absl::GetFlag(FLAGS_certificates)}), open("shard");
    for (const bool encrypted : {true, false}) {
      SetProcessSecurity(encrypted ? OpenSecurity() : *Security::Create({}));
      CreateTable(encrypted ? closed : open, signature);
      Fill(encrypted ? closed : open, signature, std::min<uint64_t>(kStoredRows, kBudget / 4 / row_bytes));
    }
    for (const uint32_t rows : {kRawMessageRows, 1u}) {
      CompareSecurity(absl::StrFormat("replay/insert/%d_bytes/%d_steps_at_a_time", row_bytes, rows), "steps/s",
                      [&](bool encrypted) {
                        return Inserting(encrypted ? closed : open, signature, rows).Measure(seconds).per_second;
                      });
    }
    CompareSecurity(absl::StrFormat("replay/sample/%d_bytes/batches_of_%d/8_in_flight", row_bytes, kBatch), "batches/s",
                    [&](bool encrypted) { return Sampling(encrypted ? closed : open, signature, 8).Measure(seconds); });
  }
}

int Run() {
  PinTo(0);
  TuneAllocatorForStreaming();
  if (!absl::GetFlag(FLAGS_json)) {
    absl::PrintF("%-44s %14s %-16s %14s %8s\n", "figure", "value", "unit", "reference", "ratio");
  }
  if (!absl::GetFlag(FLAGS_certificates).empty()) {
    BenchSecurity();
    return 0;
  }
  const std::string part = absl::GetFlag(FLAGS_part);
  if (part.empty() || part == "insert") BenchInsert();
  if (part.empty() || part == "sample") BenchSample();
  if (part.empty() || part == "proportional") BenchProportional();
  return 0;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Inserting into and sampling from one replay shard, beside raw gRPC streaming.");
  absl::ParseCommandLine(argc, argv);
  const std::string role = absl::GetFlag(FLAGS_serve);
  if (!role.empty()) headrace::Serve(role);
  return headrace::Run();
}
