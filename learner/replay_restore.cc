#include "learner/replay_restore.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/grpc_server.h"
#include "common/grpc_status.h"
#include "common/kept_connection.h"
#include "common/log.h"
#include "common/shutdown.h"
#include "common/status_macros.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {
namespace {

// Until a shard must have answered that may still be starting; it is asked anew so often.
constexpr std::chrono::minutes kPatience{10};
constexpr std::chrono::seconds kOneCall{5};
constexpr std::chrono::milliseconds kPause{500};

// By shard.
std::vector<v1::TableState> SavedStates(const v1::CheckpointManifest& manifest, const std::string& table) {
  std::vector<v1::TableState> saved(manifest.shards_size());
  for (const v1::CheckpointResponse& shard : manifest.shards()) {
    for (const v1::TableState& state : shard.tables()) {
      if (state.table() == table && shard.shard() < saved.size()) saved[shard.shard()] = state;
    }
  }
  return saved;
}

// What all have counted, in shares that differ by one at most.
std::vector<v1::TableState> Spread(const std::vector<v1::TableState>& saved, size_t shards) {
  using Get = uint64_t (v1::TableState::*)() const;
  using Set = void (v1::TableState::*)(uint64_t);
  constexpr std::pair<Get, Set> kCounters[] = {
      {&v1::TableState::inserted_items, &v1::TableState::set_inserted_items},
      {&v1::TableState::inserted_steps, &v1::TableState::set_inserted_steps},
      {&v1::TableState::sampled_items, &v1::TableState::set_sampled_items},
      {&v1::TableState::sampled_steps, &v1::TableState::set_sampled_steps},
      {&v1::TableState::removed_items, &v1::TableState::set_removed_items},
      {&v1::TableState::lost_chunks, &v1::TableState::set_lost_chunks},
      {&v1::TableState::lost_items, &v1::TableState::set_lost_items},
      {&v1::TableState::priority_updates, &v1::TableState::set_priority_updates},
      {&v1::TableState::unknown_priority_keys, &v1::TableState::set_unknown_priority_keys},
  };
  v1::TableState common;
  for (const v1::TableState& state : saved) {
    if (!state.table().empty()) common.set_table(state.table());
    common.set_max_priority(std::max(common.max_priority(), state.max_priority()));
  }
  std::vector<v1::TableState> spread(shards, common);
  for (const auto& [get, set] : kCounters) {
    uint64_t sum = 0;
    for (const v1::TableState& state : saved) sum += (state.*get)();
    for (size_t i = 0; i < shards; ++i) (spread[i].*set)(sum * (i + 1) / shards - sum * i / shards);
  }
  return spread;
}

absl::StatusOr<v1::FindFilesResponse> AskOnce(v1::Replay::Stub& stub, const v1::FindFilesRequest& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kOneCall);
  v1::FindFilesResponse response;
  RETURN_IF_ERROR(FromGrpc(stub.FindFiles(&context, request, &response)));
  return response;
}

absl::StatusOr<v1::FindFilesResponse> Ask(size_t shard, const std::string& address,
                                          const v1::FindFilesRequest& request) {
  const std::unique_ptr<v1::Replay::Stub> stub = v1::Replay::NewStub(MakeChannel(address));
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (bool told = false;; told = true) {
    absl::StatusOr<v1::FindFilesResponse> response = AskOnce(*stub, request);
    if (response.ok()) return response;
    const absl::Status error(response.status().code(),
                             absl::StrFormat("replay shard %d at %s: %s", shard, address, response.status().message()));
    if (KeptConnection::IsFinal(error) || std::chrono::steady_clock::now() >= until) return error;
    if (!told) LogInfo("waiting to be told which files of the checkpoint it can read: %s", error.message());
    if (ShutdownSignal::WaitUntil(std::chrono::steady_clock::now() + kPause)) {
      return absl::CancelledError("interrupted while shards were asked for the files of the checkpoint");
    }
  }
}

}  // namespace

std::vector<v1::TableState> ShardStates(const v1::CheckpointManifest& manifest, const std::string& table,
                                        size_t shards) {
  std::vector<v1::TableState> saved = SavedStates(manifest, table);
  if (!saved.empty() && saved.size() != shards) return Spread(saved, shards);
  saved.resize(shards);
  return saved;
}

bool NumberOfShardsChanged(const v1::CheckpointManifest& manifest, size_t shards) {
  return static_cast<size_t>(manifest.shards_size()) != shards &&
         std::ranges::any_of(manifest.shards(), [](const auto& shard) { return !shard.path().empty(); });
}

absl::StatusOr<std::vector<v1::Redistribution>> PlanRedistribution(const v1::CheckpointManifest& manifest,
                                                                   const std::string& table, const v1::Peer& peer,
                                                                   const std::vector<std::string>& addresses) {
  v1::FindFilesRequest request;
  *request.mutable_peer() = peer;
  v1::Redistribution& plan = *request.mutable_redistribution();
  plan.set_name(manifest.name());
  std::vector<v1::TableState> saved = SavedStates(manifest, table);
  for (const v1::CheckpointResponse& shard : manifest.shards()) {
    if (shard.shard() >= saved.size()) continue;
    if (shard.path().empty()) {
      LogError("what shard %d held is lost: it was away when checkpoint %s was written", shard.shard(), plan.name());
      saved[shard.shard()].Clear();
      continue;
    }
    v1::ShardFile& file = *plan.add_files();
    file.set_shard(shard.shard());
    file.set_path(shard.path());
    file.set_inserted_steps(saved[shard.shard()].inserted_steps());
  }
  std::vector<v1::FindFilesResponse> answers;
  for (size_t i = 0; i < addresses.size(); ++i) {
    ASSIGN_OR_RETURN(answers.emplace_back(), Ask(i, addresses[i], request));
    if (answers[i].shard() != i) {
      return absl::FailedPreconditionError(
          absl::StrFormat("expected shard %d at %s, got shard %d", i, addresses[i], answers[i].shard()));
    }
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    for (const uint32_t place : answers[i].readable()) {
      if (place < static_cast<uint32_t>(plan.files_size())) {
        plan.mutable_files(static_cast<int>(place))->add_readers(static_cast<uint32_t>(i));
      }
    }
  }
  for (const v1::ShardFile& file : plan.files()) {
    if (file.readers_size() > 0) continue;
    LogError("what shard %d held in checkpoint %s is lost: no shard there is now can read %s", file.shard(),
             plan.name(), file.path());
    saved[file.shard()].Clear();
  }
  const std::vector<v1::TableState> states = Spread(saved, addresses.size());
  std::vector<v1::Redistribution> plans(addresses.size(), plan);
  for (size_t i = 0; i < plans.size(); ++i) *plans[i].mutable_state() = states[i];
  return plans;
}

}  // namespace headrace
