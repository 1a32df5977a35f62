// How long a shard keeps its clients waiting while it writes a checkpoint.
//
//   replay_checkpoint [--json] [--items=100000,1000000,10000000] [--steps=100000] [--seconds=5] [--directory=/tmp]
//
// A table of transitions of 90 bytes over six columns is full, so that each step that comes takes the oldest one's
// place. A writer sends --steps a second, a few each millisecond, and waits until they are acknowledged; a sampler asks
// for a batch of 256 each millisecond and waits for it. So they do for --seconds, and then for as long as a checkpoint
// takes; it is written to --directory and removed. The shard is a process on the second core where there are two, the
// clients have the first.
//
//   insert/worst, sample/worst    the longest wait while a checkpoint was written; its reference is the longest of the
//                                 seconds before
//   insert/p99, sample/p99        of 100 waits 99 were shorter
//   seconds                       of the checkpoint; its reference is what writing a file of this size takes
//
// Output: a table, or with --json one object a line: name, value, unit, reference, ratio = value / reference.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/file.h"
#include "common/grpc_server.h"
#include "common/protocol.h"
#include "common/security.h"
#include "proto/replay.grpc.pb.h"
#include "replay/item_store.h"
#include "replay/row_layout.h"
#include "tools/bench/replay_load.h"
#include "tools/bench/server_process.h"

ABSL_FLAG(bool, json, false, "one JSON object a line instead of a table");
ABSL_FLAG(std::vector<std::string>, items, std::vector<std::string>({"100000", "1000000", "10000000"}), "of the table");
ABSL_FLAG(double, steps, 100'000, "inserted a second");
ABSL_FLAG(double, seconds, 5, "before the checkpoint");
ABSL_FLAG(std::string, directory, "", "the checkpoint is written below; default: that for temporary files");
ABSL_FLAG(std::string, serve, "", "for the processes that are measured: shard");
ABSL_FLAG(std::string, checkpoints, "", "for the processes that are measured: where they write theirs");

namespace headrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kBudget = uint64_t{16} << 30;
constexpr auto kPause = std::chrono::milliseconds(1);

void Report(const std::string& name, const std::string& unit, double value, double reference) {
  PrintFigure(absl::GetFlag(FLAGS_json), "replay_checkpoint/" + name, unit, value, reference);
}

v1::Signature MakeSignature() { return TransitionSignature(17, 2); }

// Its memory is full with about so many items.
v1::TableSpec TableOf(uint64_t items) {
  const RowLayout layout = *RowLayout::Create(MakeSignature());
  const uint64_t item_bytes = layout.stride() + ItemStore::BookBytes(v1::UNIFORM, v1::FIRST_IN_FIRST_OUT);
  return TransitionTable(MakeSignature(), v1::UNIFORM, items * item_bytes);
}

// Does one thing after the other, no more often than each millisecond, and remembers how long each took.
class Waits {
 public:
  explicit Waits(std::function<void()> act)
      : thread_([this, act = std::move(act)](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            const Clock::time_point begin = Clock::now();
            act();
            const Clock::time_point end = Clock::now();
            (during_ ? during_seconds_ : before_seconds_).push_back(std::chrono::duration<double>(end - begin).count());
            std::this_thread::sleep_until(begin + kPause);
          }
        }) {}

  // From now on something goes on, of which the waits are to be told apart.
  void Begin() { during_ = true; }
  void End() {
    thread_.request_stop();
    thread_.join();
  }
  // Once it has ended.
  double Worst(bool during) { return Quantile(during, 1); }
  double Quantile(bool during, double quantile) {
    std::vector<double>& seconds = during ? during_seconds_ : before_seconds_;
    HEADRACE_CHECK(!seconds.empty());
    std::sort(seconds.begin(), seconds.end());
    return seconds[static_cast<size_t>(quantile * static_cast<double>(seconds.size() - 1))];
  }

 private:
  std::atomic<bool> during_ = false;
  std::vector<double> before_seconds_, during_seconds_;
  std::jthread thread_;
};

double WriteSeconds(const std::string& path, uint64_t bytes) {
  const std::string piece(1 << 20, '\1');
  const Clock::time_point begin = Clock::now();
  std::unique_ptr<AtomicFile> file = *AtomicFile::Create(path);
  for (uint64_t written = 0; written < bytes; written += piece.size()) HEADRACE_CHECK(file->Append(piece).ok());
  HEADRACE_CHECK(file->Commit().ok());
  const double seconds = Since(begin);
  std::filesystem::remove(path);
  return seconds;
}

void BenchItems(uint64_t items, const std::string& directory) {
  const v1::TableSpec table = TableOf(items);
  const ServerProcess shard("shard", {"--checkpoints=" + directory});
  CreateTable(shard, table);
  Fill(shard, table.signature(), items + items / 10);
  const auto steps_at_a_time = static_cast<uint32_t>(std::max(1.0, absl::GetFlag(FLAGS_steps) / 1000));
  Inserting inserting(shard, table.signature(), steps_at_a_time);
  Sampling sampling({&shard}, table, 1);
  Waits inserts([&] { inserting.SendOnce(); });
  Waits samples([&] { sampling.Measure(0); });
  std::this_thread::sleep_for(std::chrono::duration<double>(absl::GetFlag(FLAGS_seconds)));

  const auto stub = v1::Replay::NewStub(MakeChannel(shard.address()));
  v1::CheckpointRequest request;
  *request.mutable_peer() = MakePeer("run", "learner");
  request.set_name("measured");
  request.set_keep(1);
  v1::CheckpointResponse response;
  grpc::ClientContext context;
  inserts.Begin();
  samples.Begin();
  const Clock::time_point begin = Clock::now();
  const grpc::Status status = stub->Checkpoint(&context, request, &response);
  const double seconds = Since(begin);
  inserts.End();
  samples.End();
  HEADRACE_CHECK(status.ok());
  std::filesystem::remove(response.path());

  const std::string name = absl::StrFormat("%d_items/", items);
  const std::pair<const char*, Waits*> kinds[] = {{"insert", &inserts}, {"sample", &samples}};
  for (const auto& [kind, waits] : kinds) {
    Report(name + kind + "/worst", "ms", 1e3 * waits->Worst(true), 1e3 * waits->Worst(false));
    Report(name + kind + "/p99", "ms", 1e3 * waits->Quantile(true, 0.99), 1e3 * waits->Quantile(false, 0.99));
  }
  Report(name + "seconds", "s", seconds, WriteSeconds(directory + "/plain", response.bytes()));
}

int Run() {
  PinTo(0);
  TuneAllocatorForStreaming();
  if (!absl::GetFlag(FLAGS_json)) PrintHeading();
  std::error_code error;
  std::string parent = absl::GetFlag(FLAGS_directory);
  if (parent.empty()) parent = std::filesystem::temp_directory_path(error);
  std::string directory = parent + "/replay_checkpoint.XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) {
    absl::FPrintF(stderr, "--directory: nothing can be written below %s\n", parent);
    return 2;
  }
  for (const std::string& text : absl::GetFlag(FLAGS_items)) {
    uint64_t items = 0;
    if (!absl::SimpleAtoi(text, &items) || items < kBatch) {
      absl::FPrintF(stderr, "--items: expected numbers of %d and more, got \"%s\"\n", kBatch, text);
      return 2;
    }
    BenchItems(items, directory);
  }
  std::filesystem::remove_all(directory, error);
  return 0;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("How long a shard keeps its clients waiting while it writes a checkpoint.");
  absl::ParseCommandLine(argc, argv);
  if (absl::GetFlag(FLAGS_serve) == "shard") {
    headrace::ServeShard(headrace::kBudget, **headrace::Security::Create({}), absl::GetFlag(FLAGS_checkpoints));
  }
  return headrace::Run();
}
