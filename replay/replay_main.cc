// The replay process: one shard of the replay service.
#include <chrono>
#include <ctime>
#include <future>
#include <thread>

#include "absl/flags/flag.h"
#include "common/file.h"
#include "common/log.h"
#include "common/process.h"
#include "common/rpc_metrics.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "replay/checkpoint.h"
#include "replay/service.h"
#include "replay/shard.h"
#include "replay/shard_metrics.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:0", "HOST:PORT of the gRPC service; port 0 takes a free one");
ABSL_FLAG(uint32_t, shard, 0, "number of this shard, 0 to replay.shards - 1");
ABSL_FLAG(std::string, checkpoint_dir, "",
          "where this shard writes its checkpoints and finds them when it starts; none: it starts empty");
ABSL_FLAG(
    uint32_t, drain_seconds, 25,
    "how long this shard goes on, once it is told to end, for a learner that is still there, which may be writing "
    "a checkpoint; less than what starts it allows until it kills");

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kMetricsInterval{250};
constexpr std::chrono::milliseconds kShutdownGrace{500};
constexpr std::chrono::milliseconds kLearnerPoll{20};
constexpr std::chrono::seconds kRestoreReport{5};

// Where everything is told to end at once, the learner still writes a checkpoint, for which it needs its shards.
void WaitForLearnerToLeave(const Shard& shard, ShardMetrics& metrics) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(absl::GetFlag(FLAGS_drain_seconds));
  while (shard.coordinators() > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kLearnerPoll);
    metrics.Update(shard);
  }
}

// When nobody is served any more: what was acknowledged since the last checkpoint would be lost.
absl::Status SaveTheRest(const ProcessFlags& flags, const std::string& directory, const Shard& shard) {
  if (directory.empty() || shard.journal() != nullptr || !flags.config.checkpoint().replay()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string written, WriteLastCheckpoint(shard, directory));
  if (!written.empty()) LogInfo("checkpoint %s: what came after the one before", written);
  return absl::OkStatus();
}

// Whoever starts this process gives up on it if it stays silent. A restore that gets nowhere, as from a disk that does
// not answer, takes no processor time and is silent.
void ReportWhileItWorks(std::future<void> done) {
  constexpr std::clock_t kWork = CLOCKS_PER_SEC / 20;
  const auto start = std::chrono::steady_clock::now();
  for (std::clock_t before = std::clock(); done.wait_for(kRestoreReport) == std::future_status::timeout;) {
    const std::clock_t now = std::clock();
    const auto elapsed = std::chrono::steady_clock::now() - start;
    if (now - before > kWork) LogInfo("restoring a checkpoint, %d s so far", elapsed / std::chrono::seconds(1));
    before = now;
  }
}

absl::StatusOr<std::string> Restore(const std::string& directory, Shard& shard) {
  std::future<void> reporter;  // waits for its end when it is destroyed
  std::promise<void> done;
  reporter = std::async(std::launch::async, ReportWhileItWorks, done.get_future());
  absl::StatusOr<std::string> restored = RestoreNewest(directory, shard, &ShutdownSignal::Requested);
  done.set_value();
  return restored;
}

absl::Status RunReplay(const ProcessFlags& flags) {
  const v1::ReplayConfig& config = flags.config.replay();
  const uint32_t number = absl::GetFlag(FLAGS_shard);
  if (number >= config.shards()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected --shard below %d (replay.shards), got %d", config.shards(), number));
  }
  const std::string directory = absl::GetFlag(FLAGS_checkpoint_dir);
  uint64_t incarnation = ClockIncarnation();
  std::unique_ptr<FileLock> alone;  // two shards in one directory would write over each other's journal
  if (!directory.empty()) {
    RETURN_IF_ERROR(MakeDirectories(directory));
    ASSIGN_OR_RETURN(alone, OfFlag("--checkpoint_dir", FileLock::Take(directory + "/lock")));
    ASSIGN_OR_RETURN(incarnation, NextIncarnation(directory));
  }
  Shard shard(number, config.budget_bytes() / config.shards(), incarnation, config.shards());
  MetricRegistry registry("replay");
  ShardMetrics metrics(registry);
  const RpcMetrics rpcs(registry);
  // Before it restores, which may take minutes: whoever watches it sees that it lives, and is not ready.
  ASSIGN_OR_RETURN(const std::unique_ptr<ProcessPorts> ports, ProcessPorts::Open(flags, registry));
  if (!directory.empty()) {
    ASSIGN_OR_RETURN(const std::string restored, Restore(directory, shard));
    if (!restored.empty()) LogInfo("restored from checkpoint %s", restored);
  }
  if (config.journal()) {
    if (directory.empty()) return absl::InvalidArgumentError("replay.journal needs --checkpoint_dir=DIR, got none");
    ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal, Journal::Start(directory, NewestJournalFile(directory)));
    shard.SetJournal(std::move(journal));
  }

  const std::unique_ptr<grpc::Service> service = MakeReplayService(&shard, directory);
  ASSIGN_OR_RETURN(const std::unique_ptr<GrpcServer> server,
                   OfFlag("--listen", GrpcServer::Start(absl::GetFlag(FLAGS_listen), {service.get()}, &rpcs)));
  RETURN_IF_ERROR(ports->Ready(flags, server->address()));
  while (!ShutdownSignal::WaitUntil(std::chrono::steady_clock::now() + kMetricsInterval)) metrics.Update(shard);
  WaitForLearnerToLeave(shard, metrics);
  server->Shutdown(kShutdownGrace);
  RETURN_IF_ERROR(SaveTheRest(flags, directory, shard));
  return absl::CancelledError("terminated");
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  return headrace::RunProcess(argc, argv, "replay: one shard of the replay service", headrace::RunReplay);
}
