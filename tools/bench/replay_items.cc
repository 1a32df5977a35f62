// One replay shard, given the same work as replay_reverb.py gives to Reverb.
//
//   replay_items [--json] [--seconds=2] [--items=100000] [--megabytes=1000] [--only=TEXT]
//
// Server and client are two processes. What counts is how much the server does in a second of its own processor time
// ("server_cpu"), because the clients are in two languages; the clock's time ("wall") stands beside it. "first_fill" is
// into an empty table, whose memory is being taken from the system meanwhile, until it is full; "steady" what comes
// after that, when each item takes the place of another.
//
//   insert/...       items of one row, written one or 16 at a time, in one column or five
//   memory/...       what the server's resident memory has grown by for each byte of payload that it holds
//   sample/...       batches of 256 with 8 in flight, uniformly and in proportion to priorities
//   priorities/...   of 256 items at a time, 8 calls in flight
//   .../80_..._frames  sequences of 80 frames, of which each begins 40 after the last: a frame is stored once
//
// Output: a table, or with --json one object a line: name, value, unit.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/grpc_server.h"
#include "common/protocol.h"
#include "common/random.h"
#include "grpcpp/client_context.h"
#include "proto/replay.grpc.pb.h"
#include "replay/sampler.h"
#include "replay/service.h"
#include "replay/shard.h"
#include "replay/writer.h"
#include "tools/bench/replay_content.h"
#include "tools/bench/server_process.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(double, seconds, 2, "seconds for each figure but those of the first fill");
ABSL_FLAG(uint64_t, items, 100'000, "that a table holds");
ABSL_FLAG(uint64_t, megabytes, 1000, "of payload that a table holds at most; half of it where items are sequences");
ABSL_FLAG(std::string, only, "", "only what has this in its name, such as 400_bytes/");
ABSL_FLAG(std::string, serve, "", "for the process that is measured: shard");

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kInFlight = 8;
constexpr char kRun[] = "benchmark";

double Since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

Clock::time_point Soon() { return Clock::now() + std::chrono::seconds(60); }

struct Work {
  std::string name;
  ReplayContent content;
  uint32_t steps_at_a_time = 1;
  ItemPattern pattern = {.rows = 1, .stride = 1};
  uint32_t batch_size = 256;

  size_t stored_item_bytes() const { return pattern.stride * content.row_bytes(); }
  size_t sampled_item_bytes() const { return pattern.rows * content.row_bytes(); }
  bool sequences() const { return pattern.rows > 1; }
  std::string unit() const { return sequences() ? "sequences" : "items"; }
  uint64_t items() const {
    const uint64_t bytes = absl::GetFlag(FLAGS_megabytes) * 1'000'000 / (sequences() ? 2 : 1);
    return std::min(absl::GetFlag(FLAGS_items), std::max<uint64_t>(bytes / stored_item_bytes(), 2 * batch_size));
  }
  v1::TableSpec Table(v1::Selector sampler) const {
    v1::TableSpec spec;
    spec.set_name("t");
    *spec.mutable_signature() = content.signature();
    spec.set_sampler(sampler);
    spec.set_remover(v1::FIRST_IN_FIRST_OUT);
    spec.set_max_items(items());
    spec.set_max_bytes(2 * items() * stored_item_bytes() + (uint64_t{256} << 20));  // the number of items is the limit
    spec.set_max_item_rows(pattern.rows);
    spec.set_initial_insert_limit(UINT64_MAX / 2);
    return spec;
  }
};

[[noreturn]] void Serve() {
  PinTo(1);
  TuneAllocatorForStreaming();
  Shard shard(0, uint64_t{8} << 30, 1);
  const std::unique_ptr<grpc::Service> service = MakeReplayService(&shard, "");
  const std::unique_ptr<GrpcServer> server = *GrpcServer::Start("127.0.0.1:0", {service.get()});
  ServeForParent(server->address());
}

void Report(const std::string& name, double value, const std::string& unit) {
  if (absl::GetFlag(FLAGS_json)) {
    absl::PrintF("{\"name\": \"replay/%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name, value, unit);
  } else {
    absl::PrintF("replay/%-60s %14.4g %s\n", name, value, unit);
  }
  std::fflush(stdout);
}

// How much was done in how much time, from its construction on.
class Meter {
 public:
  explicit Meter(const ServerProcess& server) : server_(server), begin_(Clock::now()), cpu_(server.CpuSeconds()) {}
  bool Runs() const { return Since(begin_) < absl::GetFlag(FLAGS_seconds); }
  // With `item_bytes` also in bytes.
  void Report(const std::string& name, uint64_t count, const std::string& unit, size_t item_bytes = 0) const {
    const double done = static_cast<double>(count), seconds = Since(begin_);
    headrace::Report(name + "/server_cpu", done / (server_.CpuSeconds() - cpu_), unit + "/CPU s");
    headrace::Report(name + "/wall", done / seconds, unit + "/s");
    if (item_bytes == 0) return;
    headrace::Report(name + "/wall_bytes", done * static_cast<double>(item_bytes) / 1e6 / seconds, "MB/s");
  }

 private:
  const ServerProcess& server_;
  const Clock::time_point begin_;
  const double cpu_;
};

void CreateTable(const ServerProcess& shard, const v1::TableSpec& spec) {
  v1::CreateTableRequest request;
  *request.mutable_peer() = MakePeer(kRun, "learner");
  *request.mutable_spec() = spec;
  v1::CreateTableResponse response;
  grpc::ClientContext context;
  HEADRACE_CHECK(v1::Replay::NewStub(MakeChannel(shard.address()))->CreateTable(&context, request, &response).ok());
}

class Inserting {
 public:
  Inserting(const ServerProcess& shard, const Work& work) : work_(work) {
    ReplayWriterOptions options;
    options.address = shard.address();
    options.peer = MakePeer(kRun, "writer");
    options.writer = 1;
    options.table = "t";
    options.signature = work.content.signature();
    options.pattern = work.pattern;
    options.chunk_rows = std::max(work.steps_at_a_time, work.pattern.stride);
    writer_ = *ReplayWriter::Start(options);
  }
  void Insert(uint64_t items) {
    items_ += items;
    const uint64_t steps = work_.pattern.rows + (items_ - 1) * work_.pattern.stride;
    while (steps_ < steps) {
      for (uint32_t i = 0; i < work_.steps_at_a_time && steps_ < steps; ++i, ++steps_) {
        writer_->Append(0, work_.content.Row(steps_), v1::NOT_ENDED);
      }
      HEADRACE_CHECK(writer_->Send(Soon()).ok());
    }
  }
  void Drain() { HEADRACE_CHECK(writer_->Drain(Soon()).ok()); }

 private:
  const Work& work_;
  uint64_t items_ = 0;
  uint64_t steps_ = 0;
  std::unique_ptr<ReplayWriter> writer_;
};

void BenchSample(const ServerProcess& shard, const Work& work, v1::Selector selector) {
  std::vector<std::vector<std::byte>> memory(kInFlight);
  ReplaySamplerOptions options;
  options.addresses = {shard.address()};
  options.peer = MakePeer(kRun, "learner");
  options.table = work.Table(selector);
  v1::ColumnSlice& slice = options.slices.emplace_back();
  slice.set_column(work.content.signature().columns(0).name());
  slice.set_rows(work.pattern.rows);
  for (std::vector<std::byte>& block : memory) {
    block.resize(work.batch_size * work.sampled_item_bytes());
    options.slots.push_back({std::span<std::byte>(block)});
  }
  options.batch_size = work.batch_size;
  options.ratio = {.updates_per_step = 1e6, .min_steps = 1, .lead_steps = UINT64_MAX / 4};
  options.seed = 7;
  const std::unique_ptr<ReplaySampler> sampler = *ReplaySampler::Start(std::move(options));
  const auto next = [&] {
    const absl::StatusOr<ReplaySampler::Filled> filled = sampler->Next(Soon());
    HEADRACE_CHECK(filled.ok());
    sampler->Done(filled->slot, 0);
  };
  for (size_t i = 0; i < 2 * kInFlight; ++i) next();
  const Meter meter(shard);
  uint64_t items = 0;
  for (; meter.Runs(); items += work.batch_size) next();
  const std::string how = selector == v1::UNIFORM ? "uniform" : "prioritised";
  meter.Report(absl::StrFormat("sample/%s/%s", work.name, how), items, work.unit(),
               work.sequences() ? work.sampled_item_bytes() : 0);
}

// A message for the keys of each of a few batches.
std::vector<v1::UpdatePrioritiesRequest> DrawUpdates(v1::Replay::Stub& stub, const Work& work) {
  grpc::ClientContext context;
  const auto stream = stub.Sample(&context);
  v1::SampleRequest request;
  *request.mutable_open()->mutable_peer() = MakePeer(kRun, "learner");
  request.mutable_open()->set_table("t");
  v1::ColumnSlice& slice = *request.mutable_open()->add_slices();
  slice.set_column(work.content.signature().columns(0).name());
  slice.set_rows(1);
  HEADRACE_CHECK(stream->Write(request));
  RandomStream random(1);
  std::vector<v1::UpdatePrioritiesRequest> updates(kInFlight);
  for (size_t i = 0; i < updates.size(); ++i) {
    request.Clear();
    request.set_request(i + 1);
    request.set_batch_size(work.batch_size);
    request.set_random_key(i + 1);
    HEADRACE_CHECK(stream->Write(request));
    v1::SampleResponse response;
    while (!response.last()) HEADRACE_CHECK(stream->Read(&response));
    updates[i].set_incarnation(response.state().incarnation());
    updates[i].mutable_keys()->Swap(response.mutable_keys());
    while (updates[i].priorities_size() < updates[i].keys_size()) {
      updates[i].add_priorities(static_cast<float>(1 - random.Uniform()));
    }
  }
  context.TryCancel();
  return updates;
}

void BenchPriorities(const ServerProcess& shard, const Work& work) {
  const std::unique_ptr<v1::Replay::Stub> stub = v1::Replay::NewStub(MakeChannel(shard.address()));
  const std::vector<v1::UpdatePrioritiesRequest> updates = DrawUpdates(*stub, work);
  grpc::ClientContext context;
  const auto stream = stub->UpdatePriorities(&context);
  v1::UpdatePrioritiesRequest open;
  *open.mutable_peer() = MakePeer(kRun, "learner");
  open.set_table("t");
  HEADRACE_CHECK(stream->Write(open));
  v1::UpdatePrioritiesResponse done;
  HEADRACE_CHECK(stream->Read(&done));
  const Meter meter(shard);
  uint64_t sent = done.messages();
  while (meter.Runs() || done.messages() < sent) {
    if (meter.Runs() && sent < done.messages() + kInFlight) {
      HEADRACE_CHECK(stream->Write(updates[sent++ % updates.size()]));
    } else {
      HEADRACE_CHECK(stream->Read(&done));
    }
  }
  HEADRACE_CHECK(done.unknown() == 0);
  meter.Report(absl::StrFormat("priorities/%s/calls_of_%d", work.name, work.batch_size), done.updated(), "updates");
  context.TryCancel();
}

// Into a table of its own, and then out of it.
void BenchInsert(const Work& work, const std::string& variant, bool sample) {
  const ServerProcess shard("shard");
  const uint64_t empty = shard.ResidentBytes();
  CreateTable(shard, work.Table(v1::UNIFORM));
  Inserting inserting(shard, work);
  const std::string name = variant.empty() ? work.name : work.name + "/" + variant;
  const auto insert = [&](const std::string& phase, const std::function<bool(const Meter&, uint64_t)>& goes_on) {
    const Meter meter(shard);
    uint64_t items = 0;
    for (; goes_on(meter, items); items += 16) inserting.Insert(16);
    inserting.Drain();
    meter.Report(absl::StrFormat("insert/%s/%s", name, phase), items, work.unit(),
                 work.sequences() ? work.stored_item_bytes() : 0);
    const double stored = static_cast<double>(work.items() * work.stored_item_bytes());
    Report(absl::StrFormat("memory/%s/%s", name, phase), static_cast<double>(shard.ResidentBytes() - empty) / stored,
           "bytes/byte");
  };
  insert("first_fill", [&](const Meter&, uint64_t items) { return items < work.items(); });
  insert("steady", [](const Meter& meter, uint64_t) { return meter.Runs(); });
  if (sample) BenchSample(shard, work, v1::UNIFORM);
}

void BenchPrioritised(const Work& work) {
  const ServerProcess shard("shard");
  CreateTable(shard, work.Table(v1::PROPORTIONAL));
  Inserting inserting(shard, work);
  inserting.Insert(work.items());
  inserting.Drain();
  BenchPriorities(shard, work);
  BenchSample(shard, work, v1::PROPORTIONAL);
}

int Run() {
  PinTo(0);
  TuneAllocatorForStreaming();
  const auto wanted = [](const std::string& name) { return absl::StrContains(name, absl::GetFlag(FLAGS_only)); };
  for (const uint32_t floats : {100u, 1000u, 10000u}) {
    const Work work = {.name = absl::StrFormat("%d_bytes", 4 * floats), .content = ReplayContent::Floats(1, floats)};
    if (!wanted(work.name + "/")) continue;
    BenchInsert(work, "1_at_a_time", true);
    BenchPrioritised(work);
  }
  const Work steps = {.name = "400_bytes", .content = ReplayContent::Floats(1, 100), .steps_at_a_time = 16};
  if (wanted("400_bytes/16_at_a_time")) BenchInsert(steps, "16_at_a_time", false);
  const Work columns = {.name = "400_bytes_in_5_columns", .content = ReplayContent::Floats(5, 20)};
  if (wanted(columns.name + "/")) BenchInsert(columns, "1_at_a_time", false);
  for (const bool game : {false, true}) {
    const Work frames = {.name = game ? "80_game_frames" : "80_noise_frames",
                         .content = game ? ReplayContent::GameFrames() : ReplayContent::NoiseFrames(),
                         .pattern = {.rows = 80, .stride = 40},
                         .batch_size = 8};
    if (wanted(frames.name + "/")) BenchInsert(frames, "", true);
  }
  return 0;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("One replay shard, given the same work as replay_reverb.py gives to Reverb.");
  absl::ParseCommandLine(argc, argv);
  if (absl::GetFlag(FLAGS_serve) == "shard") headrace::Serve();
  return headrace::Run();
}
