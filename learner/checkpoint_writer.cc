#include "learner/checkpoint_writer.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/grpc_server.h"
#include "common/grpc_status.h"
#include "common/log.h"
#include "common/seconds.h"
#include "common/sign_of_life.h"
#include "common/status_macros.h"
#include "grpcpp/client_context.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kSignInterval{500};
constexpr std::chrono::milliseconds kLookAgain{100};  // whether a shard has ended a checkpoint that nobody waits for

absl::StatusOr<v1::CheckpointResponse> AskShard(const std::string& address, std::chrono::milliseconds connect_patience,
                                                std::chrono::milliseconds patience,
                                                const v1::CheckpointRequest& request) {
  const std::shared_ptr<grpc::Channel> channel = MakeChannel(address);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + connect_patience)) {
    return absl::UnavailableError(absl::StrFormat("replay shard %s cannot be reached: no connection within %.1f s",
                                                  address, Seconds(connect_patience)));
  }
  v1::CheckpointResponse response;
  const auto deadline = std::chrono::system_clock::now() + patience;
  absl::Status status;
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    status = FromGrpc(v1::Replay::NewStub(channel)->Checkpoint(&context, request, &response));
    if (!absl::IsAborted(status) || std::chrono::system_clock::now() + kLookAgain >= deadline) break;
    std::this_thread::sleep_for(kLookAgain);
  }
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat("replay shard ", address, ": ", std::string(status.message())));
  }
  return response;
}

}  // namespace

void CheckpointWriter::Start(Cut cut, std::chrono::milliseconds patience) {
  started_ = std::chrono::steady_clock::now();
  writing_ = std::async(std::launch::async, [this, patience, moved = std::move(cut)]() mutable {
    return Write(std::move(moved), patience);
  });
}

void CheckpointWriter::Poll() {
  if (writing() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) (void)Wait();
}

absl::Status CheckpointWriter::Wait() {
  if (!writing()) return absl::OkStatus();
  // That this comes to an end is what the patience is for.
  while (writing_.wait_for(kSignInterval) == std::future_status::timeout) SignOfLife::Give();
  absl::Status written = writing_.get();
  if (written.ok()) {
    metrics_->checkpoints.Increment();
    metrics_->checkpoint.Observe(Seconds(std::chrono::steady_clock::now() - started_));
    metrics_->checkpoint_timestamp.SetToCurrentTime();
  } else {
    LogError("checkpoint failed: %s", written.ToString());
  }
  return written;
}

absl::Status CheckpointWriter::Write(Cut cut, std::chrono::milliseconds patience) {
  const auto start = std::chrono::steady_clock::now();
  v1::CheckpointManifest& manifest = cut.manifest;
  // First: shards that fill the disk with what they hold then leave room for what was learned.
  absl::StatusOr<StagedCheckpoint> staged =
      StageCheckpoint(absl::StrCat(checkpoints_, "/", manifest.name()), {cut.files.begin(), cut.files.end()});
  if (!staged.ok()) {
    metrics_->checkpoint_failures.disk.Increment();
    return staged.status();
  }
  v1::CheckpointRequest request;
  *request.mutable_peer() = peer_;
  request.set_name(manifest.name());
  request.set_keep(keep_);
  request.set_committed(committed_);
  std::vector<std::future<absl::StatusOr<v1::CheckpointResponse>>> answers;
  for (const std::string& shard : shards_) {
    answers.push_back(std::async(std::launch::async, AskShard, shard, connect_patience_, patience, request));
  }
  // Also of shards whose contents are not saved: what they had inserted is how the next learner counts on.
  for (size_t i = 0; i < cut.states.size(); ++i) {
    v1::CheckpointResponse& shard = *manifest.add_shards();
    shard.set_shard(static_cast<uint32_t>(i));
    *shard.add_tables() = cut.states[i];
  }
  uint64_t bytes = 0;
  uint64_t env_steps = manifest.counters().env_steps();
  absl::Status failed;
  for (size_t i = 0; i < answers.size(); ++i) {
    absl::StatusOr<v1::CheckpointResponse> answer = answers[i].get();
    if (!answer.ok()) {
      failed.Update(answer.status());
      continue;
    }
    bytes += answer->bytes();
    // Steps that arrived between the learner's cut and this shard's are in the checkpoint: they count.
    for (const v1::TableState& state : answer->tables()) {
      if (state.table() != cut.states[i].table() || state.incarnation() != cut.states[i].incarnation()) continue;
      env_steps += state.inserted_steps() - std::min(state.inserted_steps(), cut.states[i].inserted_steps());
    }
    *manifest.mutable_shards(static_cast<int>(i)) = *std::move(answer);
  }
  shard_failures_ = failed.ok() ? 0 : shard_failures_ + 1;
  // One of the same updates, with or without what the shards held, has nothing to gain by this.
  const bool saved = manifest.name() == committed_ || manifest.name() == incomplete_;
  if (!failed.ok() && !cut.last && (saved || shard_failures_ < kPatientFailures)) {
    metrics_->checkpoint_failures.shard.Increment();
    (void)DropCheckpoint(*staged);
    return failed;
  }
  manifest.mutable_counters()->set_env_steps(env_steps);
  if (const absl::Status status = Commit(*staged, manifest, /*complete=*/failed.ok()); !status.ok()) {
    metrics_->checkpoint_failures.disk.Increment();
    return status;
  }
  for (const auto& [name, contents] : cut.files) bytes += contents.size();
  LogInfo("checkpoint %s: %d bytes in %.2f s", manifest.name(), bytes,
          Seconds(std::chrono::steady_clock::now() - start));
  if (failed.ok()) return absl::OkStatus();
  metrics_->checkpoint_failures.shard.Increment();
  return absl::Status(
      failed.code(),
      absl::StrCat(manifest.name(), " has the networks, but not what a shard held: ", std::string(failed.message())));
}

absl::Status CheckpointWriter::Commit(const StagedCheckpoint& staged, const v1::CheckpointManifest& manifest,
                                      bool complete) {
  const std::string& name = manifest.name();
  RETURN_IF_ERROR(CommitCheckpoint(staged, manifest));
  const std::string superseded = std::exchange(incomplete_, complete ? "" : name);
  if (complete) {
    return RemoveOldCheckpoints(checkpoints_, name, std::exchange(committed_, name), keep_);
  }
  // Those that have everything stay until there is another one; of these the newest is enough.
  if (superseded.empty() || superseded == name) return absl::OkStatus();
  return RemoveCheckpoint(checkpoints_, superseded);
}

}  // namespace headrace
