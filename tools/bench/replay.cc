// Inserting into and sampling from one replay shard, beside raw gRPC streaming of the same bytes.
//
//   replay [--json] [--seconds=2] [--rounds=5] [--items=1000000] [--megabytes=256]
//   [--part=insert|sample|proportional|crowd] replay --certificates=DIR
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
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_format.h"
#include "common/grpc_server.h"
#include "common/security.h"
#include "replay/row_layout.h"
#include "tools/bench/raw_stream.h"
#include "tools/bench/replay_load.h"
#include "tools/bench/server_process.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(double, seconds, 2, "seconds for each round");
ABSL_FLAG(int, rounds, 5, "rounds of each figure, the two sides in turn; the median counts");
ABSL_FLAG(uint64_t, items, 1'000'000, "stored where batches are sampled");
ABSL_FLAG(uint64_t, megabytes, 256, "size of the table that is inserted into");
ABSL_FLAG(std::string, part, "", "insert, sample, proportional or crowd: only that; default: all");
ABSL_FLAG(std::string, certificates, "", "measure with the certificates and token of this directory, and without");
ABSL_FLAG(std::string, serve, "", "for the process that is measured: shard or raw");

namespace headrace {
namespace {

constexpr uint64_t kBudget = uint64_t{2} << 30;
constexpr uint32_t kRawMessageRows = 728;  // of 90 bytes: 64 KiB

std::shared_ptr<const Security> OpenSecurity() {
  const std::string directory = absl::GetFlag(FLAGS_certificates);
  if (directory.empty()) return *Security::Create({});
  return *Security::Create({.certificates = directory, .token_file = directory + "/token"});
}

[[noreturn]] void Serve(const std::string& role) {
  if (role == "shard") ServeShard(kBudget, *OpenSecurity());
  PinTo(1);
  TuneAllocatorForStreaming();
  const RawServer raw;
  ServeForParent(raw.address());
}

void Report(const std::string& name, const std::string& unit, double value, double reference) {
  PrintFigure(absl::GetFlag(FLAGS_json), name, unit, value, reference);
}

v1::TableSpec HalfOfTheBudget(const v1::Signature& signature, v1::Selector selector = v1::UNIFORM) {
  return TransitionTable(signature, selector, kBudget / 2);
}

size_t RowBytes(const v1::Signature& signature) { return RowLayout::Create(signature)->payload_bytes(); }

// As many as were asked for, as long as they leave room.
uint64_t StoredRows(const v1::Signature& signature) {
  return std::min(absl::GetFlag(FLAGS_items), kBudget / 4 / RowBytes(signature));
}

double PerSecond(Inserting& writer, double seconds) { return writer.Measure(seconds).per_second; }
double PerSecond(Sampling& sampler, double seconds) { return sampler.Measure(seconds); }

void BenchInsert() {
  const v1::Signature signature = TransitionSignature(17, 2);  // 17*4 + 2*4 + 4 + 1 + 1 + 8 = 90 bytes
  const size_t row_bytes = RowBytes(signature);
  for (const uint32_t rows : {kRawMessageRows, 16u, 1u}) {
    const ServerProcess shard("shard"), raw("raw");
    const uint64_t budget = absl::GetFlag(FLAGS_megabytes) << 20;
    CreateTable(shard, TransitionTable(signature, v1::UNIFORM, budget));
    // Until the table is full: from then on every step removes an old one, and memory that was never used is not met.
    Fill(shard, signature, budget / row_bytes);
    Inserting inserting(shard, signature, rows);
    // The fastest way to send the same bytes: in messages of 64 KiB, whatever the writer is given at a time.
    RawSender sending(raw.address(), kRawMessageRows * row_bytes);
    const double seconds = absl::GetFlag(FLAGS_seconds);
    inserting.Measure(seconds / 2);
    sending.Measure(seconds / 2);
    std::vector<double> ours, theirs, cpu;
    for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
      const Inserting::Rate rate = inserting.Measure(seconds);
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

// Drawing in proportion to priorities, beside drawing uniformly.
void BenchProportional() {
  const v1::Signature signature = TransitionSignature(17, 2);
  const ServerProcess uniform("shard"), proportional("shard");
  const v1::TableSpec alike = HalfOfTheBudget(signature);
  const v1::TableSpec weighted = HalfOfTheBudget(signature, v1::PROPORTIONAL);
  CreateTable(uniform, alike);
  CreateTable(proportional, weighted);
  Fill(uniform, signature, StoredRows(signature));
  Fill(proportional, signature, StoredRows(signature));
  const double seconds = absl::GetFlag(FLAGS_seconds);
  std::vector<double> ours, theirs;
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    // One after the other: what the one has prefetched must not keep the other's server busy.
    ours.push_back(Sampling({&proportional}, weighted, 8).Measure(seconds));
    theirs.push_back(Sampling({&uniform}, alike, 8).Measure(seconds));
  }
  Report(
      absl::StrFormat("replay/sample/%d_bytes/batches_of_%d/proportional_beside_uniform", RowBytes(signature), kBatch),
      "batches/s", Median(ours), Median(theirs));
}

// What each of several measures at the same time, on a thread of its own.
template <typename Client>
std::vector<std::future<double>> MeasureAll(std::vector<std::unique_ptr<Client>>& clients, double seconds) {
  std::vector<std::future<double>> rates;
  for (const std::unique_ptr<Client>& client : clients) {
    rates.push_back(std::async(std::launch::async, [&client, seconds] { return PerSecond(*client, seconds); }));
  }
  return rates;
}

std::vector<double> Values(std::vector<std::future<double>> rates) {
  std::vector<double> values;
  for (std::future<double>& rate : rates) values.push_back(rate.get());
  return values;
}

double Sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

double LeastOfMean(const std::vector<double>& values) {
  return *std::ranges::min_element(values) * static_cast<double>(values.size()) / Sum(values);
}

// Many writers and samplers at once: whether they get as much done as one of a kind alone, and each of them its share.
void BenchCrowd() {
  constexpr int kWriters = 8, kSamplers = 4;
  constexpr uint32_t kStepsAtATime = 64;
  const v1::Signature signature = TransitionSignature(17, 2);
  const v1::TableSpec table = HalfOfTheBudget(signature);
  const ServerProcess shard("shard");
  CreateTable(shard, table);
  Fill(shard, signature, StoredRows(signature));
  std::vector<std::unique_ptr<Inserting>> writers;
  std::vector<std::unique_ptr<Sampling>> samplers;
  while (writers.size() < kWriters) writers.push_back(std::make_unique<Inserting>(shard, signature, kStepsAtATime));
  const double seconds = absl::GetFlag(FLAGS_seconds);
  std::vector<double> work, of_writers, of_samplers;
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    const double inserted_alone = PerSecond(*writers.front(), seconds);
    // Samplers come late and go, for what they have asked for would keep the server busy while others are measured
    // alone.
    const auto add_sampler = [&] {
      samplers.push_back(std::make_unique<Sampling>(std::vector<const ServerProcess*>{&shard}, table, 8));
    };
    add_sampler();
    const double sampled_alone = PerSecond(*samplers.front(), seconds);
    while (samplers.size() < kSamplers) add_sampler();
    auto writing = MeasureAll(writers, seconds);
    const std::vector<double> sampled = Values(MeasureAll(samplers, seconds));
    const std::vector<double> inserted = Values(std::move(writing));
    work.push_back(Sum(inserted) / inserted_alone + Sum(sampled) / sampled_alone);
    of_writers.push_back(LeastOfMean(inserted));
    of_samplers.push_back(LeastOfMean(sampled));
    samplers.clear();
  }
  const std::string name = absl::StrFormat("replay/crowd/%d_writers_%d_samplers", kWriters, kSamplers);
  Report(name + "/work_beside_one_of_a_kind", "of its work", Median(work), 1);
  Report(name + "/slowest_writer", "of the mean", Median(of_writers), 1);
  Report(name + "/slowest_sampler", "of the mean", Median(of_samplers), 1);
}

void BenchSample() {
  for (const auto& [observation, action] : {std::pair(17u, 2u), std::pair(76u, 8u), std::pair(1000u, 8u)}) {
    const v1::Signature signature = TransitionSignature(observation, action);
    const size_t row_bytes = RowBytes(signature);
    const ServerProcess shard("shard"), raw("raw");
    const v1::TableSpec table = HalfOfTheBudget(signature);
    CreateTable(shard, table);
    Fill(shard, signature, StoredRows(signature));
    Sampling pipelined({&shard}, table, 8), single({&shard}, table, 1);
    RawReceiver receiving(raw.address(), pipelined.batch_bytes(), 8);
    const double seconds = absl::GetFlag(FLAGS_seconds);
    const double gather = GatherSeconds(row_bytes, StoredRows(signature), seconds / 4);
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
    const v1::Signature signature = TransitionSignature(observation, action);
    const size_t row_bytes = RowBytes(signature);
    const ServerProcess closed("shard", {"--certificates=" + absl::GetFlag(FLAGS_certificates)}), open("shard");
    for (const bool encrypted : {true, false}) {
      SetProcessSecurity(encrypted ? OpenSecurity() : *Security::Create({}));
      CreateTable(encrypted ? closed : open, HalfOfTheBudget(signature));
      Fill(encrypted ? closed : open, signature, StoredRows(signature));
    }
    for (const uint32_t rows : {kRawMessageRows, 1u}) {
      CompareSecurity(absl::StrFormat("replay/insert/%d_bytes/%d_steps_at_a_time", row_bytes, rows), "steps/s",
                      [&](bool encrypted) {
                        return Inserting(encrypted ? closed : open, signature, rows).Measure(seconds).per_second;
                      });
    }
    CompareSecurity(absl::StrFormat("replay/sample/%d_bytes/batches_of_%d/8_in_flight", row_bytes, kBatch), "batches/s",
                    [&](bool encrypted) {
                      return Sampling({encrypted ? &closed : &open}, HalfOfTheBudget(signature), 8).Measure(seconds);
                    });
  }
}

int Run() {
  PinTo(0);
  TuneAllocatorForStreaming();
  if (!absl::GetFlag(FLAGS_json)) PrintHeading();
  if (!absl::GetFlag(FLAGS_certificates).empty()) {
    BenchSecurity();
    return 0;
  }
  const std::string part = absl::GetFlag(FLAGS_part);
  if (part.empty() || part == "insert") BenchInsert();
  if (part.empty() || part == "sample") BenchSample();
  if (part.empty() || part == "proportional") BenchProportional();
  if (part.empty() || part == "crowd") BenchCrowd();
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
