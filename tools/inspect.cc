// What scripts ask of a configuration, without starting anything. tools/headrace uses it.
//
//   inspect json CONFIG [path.to.field=value ...]      the resolved configuration as JSON
//   inspect resolve CONFIG [path.to.field=value ...]   the same in text format
//   inspect estimate CONFIG [path.to.field=value ...]  what it will take: memory, disk, network, as JSON
//   inspect resumable STORED NEW                       whether a run of the one may go on with the other
//   inspect list                                       algorithms, environments, selectors, topologies, as JSON
//
// Exit code 2: the configuration is refused, with the reason on standard error.
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "actor/env/registry.h"
#include "actor/environment_spec.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/registry.h"
#include "common/config.h"
#include "common/config_sources.h"
#include "common/process.h"
#include "common/shards.h"
#include "common/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "learner/table_spec.h"
#include "model/device.h"
#include "nlohmann/json.hpp"
#include "replay/item_store.h"
#include "replay/row_layout.h"
#include "replay/selector/selector.h"

namespace headrace {
namespace {

using Json = nlohmann::ordered_json;

// Resident memory of a process that has nothing to do yet: measured, of its own, and of the libraries that all share.
constexpr uint64_t kReplayProcessBytes = 4 << 20;
constexpr uint64_t kTorchProcessBytes = 64 << 20;
constexpr uint64_t kSharedLibraryBytes = 80 << 20;

struct Checked {
  v1::RunConfig config;
  v1::EnvironmentSpec environment;
  Experience experience;
};

// Everything that can be refused before a process starts.
absl::StatusOr<Checked> Check(const v1::RunConfig& config) {
  ASSIGN_OR_RETURN(const EnvironmentFacts facts, FindEnvironment(config.environment().name()));
  const v1::EnvironmentSpec environment =
      MakeEnvironmentSpec(facts, static_cast<int>(config.environment().max_episode_steps()));
  ASSIGN_OR_RETURN(Experience experience, MakeExperience(config, environment));
  RETURN_IF_ERROR(ParseDevice(config.device()).status());
  return Checked{config, environment, std::move(experience)};
}

// The configuration, and what follows from it that it does not say.
absl::StatusOr<std::string> PrintJson(const Checked& checked) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(checked.config, &text, options).ok()) {
    return absl::InternalError("the configuration cannot be printed as JSON");
  }
  Json json = Json::parse(text);
  json["experience"]["used_once"] = checked.experience.queue;
  return json.dump(2);
}

uint64_t BytesOf(const std::vector<NamedTensor>& tensors) {
  uint64_t bytes = 0;
  for (const NamedTensor& tensor : tensors) bytes += tensor.tensor.nbytes();
  return bytes;
}

absl::StatusOr<std::string> PrintEstimate(const Checked& checked) {
  const v1::ReplayConfig& replay = checked.config.replay();
  ASSIGN_OR_RETURN(const RowLayout layout, RowLayout::Create(checked.experience.signature));
  const uint64_t per_item = layout.stride() * checked.experience.item_stride + ItemStore::kBookBytes;
  const uint64_t capacity = MakeTableSpec(checked.config, checked.experience).max_items() * replay.shards();
  const uint64_t wanted = capacity * per_item;
  const bool gradients = checked.config.topology() == v1::ASYNCHRONOUS_GRADIENTS;
  const uint64_t fitting = replay.budget_bytes() / per_item;
  uint64_t batch_bytes = 0;
  for (const v1::ColumnSlice& slice : checked.experience.slices) {
    batch_bytes += layout.columns()[layout.Find(slice.column())].bytes * slice.rows() * checked.experience.batch_size;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(checked.config, checked.environment));
  const uint64_t policy_bytes = BytesOf(algorithm->PolicyTensors());
  const uint64_t state_bytes = BytesOf(algorithm->StateTensors());
  const uint64_t optimizer_bytes = BytesOf(LocalOptimizer(algorithm->ParameterGroups()).StateTensors());
  const uint64_t prefetched_bytes = gradients ? 0 : batch_bytes * (checked.config.learner().prefetch() + 1);
  const uint64_t learner_bytes = kTorchProcessBytes + state_bytes + optimizer_bytes + prefetched_bytes;
  const uint64_t actors = checked.config.actor().processes() + checked.config.evaluation().processes();
  const uint64_t actor_bytes = kTorchProcessBytes + policy_bytes + (gradients ? state_bytes + batch_bytes : 0);
  const uint64_t replay_bytes = gradients ? 0 : std::min(wanted, replay.budget_bytes());
  const uint64_t replay_memory_bytes = ShardsOf(checked.config) * kReplayProcessBytes + replay_bytes;
  const double interval = checked.config.learner().publish_interval_seconds();
  const bool central = checked.config.topology() == v1::CENTRAL_INFERENCE;  // no weights leave the learner
  Json estimate;
  if (!gradients) {
    estimate["replay"] = {{"row_bytes", layout.stride()},
                          {"items_that_fit", std::min(fitting, capacity)},
                          {"capacity", capacity},
                          {"memory_bytes", replay_memory_bytes},
                          {"budget_bytes", replay.budget_bytes()}};
    if (fitting < capacity) {
      estimate["replay"]["warning"] = absl::StrFormat(
          "the budget holds %d of %d items; for all of them it would be %d bytes", fitting, capacity, wanted);
    }
  }
  estimate["learner"] = {{"algorithm_bytes", state_bytes},
                         {"optimizer_bytes", optimizer_bytes},
                         {"prefetched_batch_bytes", prefetched_bytes},
                         {"memory_bytes", learner_bytes}};
  estimate["actors_and_evaluators"] = {{"processes", actors}, {"memory_bytes_each", actor_bytes}};
  estimate["shared_libraries"] = {{"memory_bytes", kSharedLibraryBytes}};
  estimate["network"] = {{"weights_bytes_per_version", policy_bytes},
                         {"weights_bytes_per_second_at_most",
                          interval > 0 && !central && !gradients
                              ? static_cast<double>(policy_bytes) * checked.config.actor().processes() / interval
                              : 0.0}};
  if (gradients) {
    // The gradients, and the weights of the answer.
    estimate["network"]["push_bytes_per_update"] = policy_bytes + state_bytes;
  } else {
    estimate["network"]["insert_bytes_per_step"] = layout.payload_bytes();
    estimate["network"]["sample_bytes_per_update"] = batch_bytes;
  }
  const uint64_t checkpoint_bytes =
      policy_bytes + state_bytes + optimizer_bytes + (checked.config.checkpoint().replay() ? replay_bytes : 0);
  const uint64_t kept = checked.config.checkpoint().keep();
  estimate["disk"] = {{"checkpoint_bytes", checkpoint_bytes}, {"checkpoints_kept", kept}};
  // Of everything that came since the oldest checkpoint it is needed for, which is not known before; as much as replay
  // holds is a fair guess.
  const uint64_t journal_bytes = replay.journal() ? replay_bytes : 0;
  if (journal_bytes > 0) estimate["disk"]["journal_bytes"] = journal_bytes;
  // On disk there are one more, while it is written, and the policy of the best evaluation.
  estimate["total"] = {
      {"memory_bytes", kSharedLibraryBytes + replay_memory_bytes + learner_bytes + actors * actor_bytes},
      {"disk_bytes", (kept + 1) * checkpoint_bytes + policy_bytes + journal_bytes}};
  return estimate.dump(2);
}

absl::StatusOr<std::string> Describe(const std::string& command, const v1::RunConfig& config) {
  ASSIGN_OR_RETURN(const Checked checked, Check(config));
  if (command == "resolve") return ResolvedText(checked.config);
  return command == "json" ? PrintJson(checked) : PrintEstimate(checked);
}

Json DescribeAction(const EnvironmentFacts& facts) {
  if (!facts.action.continuous()) return absl::StrCat(facts.action.discrete, " discrete actions");
  return absl::StrCat("continuous [", facts.action.dimensions(), "]");
}

std::string List() {
  Json list;
  for (const AlgorithmFacts& facts : AllAlgorithms()) {
    std::vector<std::string> topologies;
    for (const v1::Topology topology : facts.topologies) topologies.push_back(v1::Topology_Name(topology));
    std::vector<std::string> actions;
    if (facts.continuous_actions) actions.push_back("continuous");
    if (facts.discrete_actions) actions.push_back("discrete");
    list["algorithms"].push_back({{"name", facts.name},
                                  {"summary", facts.summary},
                                  {"paper", facts.paper},
                                  {"topologies", topologies},
                                  {"actions", actions}});
  }
  for (const EnvironmentFacts& facts : AllEnvironments()) {
    list["environments"].push_back(
        {{"name", facts.name},
         {"summary", facts.summary},
         {"source", facts.source},
         {"observation", absl::StrCat(absl::AsciiStrToLower(v1::DataType_Name(facts.observation.data_type)), " [",
                                      absl::StrJoin(facts.observation.shape, ", "), "]")},
         {"action", DescribeAction(facts)},
         {"max_episode_steps", facts.max_episode_steps > 0 ? Json(facts.max_episode_steps) : Json()},
         {"reward_threshold", facts.reward_threshold}});
  }
  for (const SelectorFacts& facts : AllSelectors()) {
    list["selectors"].push_back({{"name", facts.name}, {"summary", facts.summary}});
  }
  const auto add_topology = [&](v1::Topology topology, const std::string& summary) {
    list["topologies"].push_back({{"name", v1::Topology_Name(topology)}, {"summary", summary}});
  };
  add_topology(v1::REPLAY, "the actor holds the policy, the learner samples from sharded replay");
  add_topology(v1::QUEUE, "the actor holds the policy, the learner takes every unroll from a queue once");
  add_topology(v1::SYNCHRONOUS, "the actor holds the policy, actors and learner take turns in rounds of one policy");
  add_topology(v1::CENTRAL_INFERENCE, "the learner holds the policy and answers observations with actions, in batches");
  add_topology(v1::ASYNCHRONOUS_GRADIENTS,
               "the actor holds the policy and pushes gradients, the learner steps parameters");
  return list.dump(2);
}

absl::StatusOr<std::string> Run(const std::vector<std::string>& words) {
  const std::string command = words.empty() ? "" : words[0];
  if (command == "list" && words.size() == 1) return List();
  if (command == "resumable" && words.size() == 3) {
    const absl::StatusOr<v1::RunConfig> stored = LoadRunConfig(words[1], {});
    if (!stored.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("what the run was started with cannot be read: ", std::string(stored.status().message())));
    }
    ASSIGN_OR_RETURN(const v1::RunConfig now, LoadRunConfig(words[2], {}));
    RETURN_IF_ERROR(CheckResumable(*stored, now));
    return "";
  }
  if ((command != "json" && command != "resolve" && command != "estimate") || words.size() < 2) {
    return absl::InvalidArgumentError(
        "expected json, resolve or estimate CONFIG [path.to.field=value ...], resumable STORED NEW, or list");
  }
  ConfigSources sources;
  ASSIGN_OR_RETURN(const v1::RunConfig config, LoadRunConfig(words[1], {words.begin() + 2, words.end()}, &sources));
  absl::StatusOr<std::string> description = Describe(command, config);
  if (!description.ok()) return sources.Locate(description.status());
  return description;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  const absl::StatusOr<std::string> output = headrace::Run({argv + 1, argv + argc});
  if (!output.ok()) {
    std::cerr << std::string(output.status().message()) << std::endl;
    return headrace::kExitUsage;
  }
  std::cout << *output << std::endl;
  return headrace::kExitDone;
}
