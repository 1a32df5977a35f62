// What scripts ask of a configuration, without starting anything. tools/headrace uses it.
//
//   inspect json CONFIG [path.to.field=value ...]      the resolved configuration as JSON
//   inspect resolve CONFIG [path.to.field=value ...]   the same in text format
//   inspect estimate CONFIG [path.to.field=value ...]  what it will take: memory, disk, network, as JSON
//   inspect resumable STORED NEW                       whether a run of the one may go on with the other
//   inspect networks SOURCE CONFIG [...]               whether a run can begin with those of another run or checkpoint
//   inspect certificates DIR TOKEN_FILE [NAME ...]     whether a process could use them that is reached by these names
//   inspect list                                       algorithms, environments, selectors, topologies, as JSON
//
// Exit code 2: the configuration is refused, with the reason on standard error.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "actor/env/registry.h"
#include "actor/environment_spec.h"
#include "algorithm/registry.h"
#include "common/certificates.h"
#include "common/checkpoint.h"
#include "common/config.h"
#include "common/config_sources.h"
#include "common/process.h"
#include "common/security.h"
#include "common/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "learner/pushed_updates.h"
#include "learner/restore.h"
#include "learner/table_spec.h"
#include "model/device.h"
#include "nlohmann/json.hpp"
#include "proto/field_options.pb.h"
#include "replay/selector/selector.h"
#include "replay/table_plan.h"
#include "tools/estimate.h"
#include "tools/warnings.h"

namespace headrace {
namespace {

using Json = nlohmann::ordered_json;

struct Checked {
  v1::RunConfig config;
  v1::EnvironmentSpec environment;
  Experience experience;
};

// Everything that can be refused before a process starts.
absl::StatusOr<Checked> Check(const v1::RunConfig& config) {
  ASSIGN_OR_RETURN(const EnvironmentFacts facts, FindEnvironment(config.environment().name()));
  const v1::EnvironmentSpec environment = MakeEnvironmentSpec(facts, config.environment());
  ASSIGN_OR_RETURN(Experience experience, MakeExperience(config, environment));
  RETURN_IF_ERROR(ParseDevice(config.device()).status());
  if (config.topology() == v1::ASYNCHRONOUS_GRADIENTS) {  // nothing is replayed
    ASSIGN_OR_RETURN(const std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(config, environment));
    RETURN_IF_ERROR(PushedUpdates::CheckSize(FactsOf(config)->name, algorithm->StateTensors()));
  } else {
    RETURN_IF_ERROR(CheckBatchSize(config, experience));
    const absl::Status planned = PlanTable(MakeTableSpec(config, experience)).status();
    if (!planned.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("replay: shards, of which each has its part of replay.budget_bytes, would refuse ",
                       std::string(planned.message())));
    }
  }
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

absl::StatusOr<std::string> PrintEstimate(const Checked& checked) {
  ASSIGN_OR_RETURN(const Estimate estimate, EstimateRun(checked.config, checked.environment, checked.experience));
  const auto& [replay, learner, actors, network, disk, memory_bytes, disk_bytes] = estimate;
  Json json;
  if (replay.has_value()) {
    json["replay"] = {{"row_bytes", replay->row_bytes},
                      {"items_that_fit", std::min(replay->fitting, replay->capacity)},
                      {"capacity", replay->capacity},
                      {"memory_bytes", replay->memory_bytes},
                      {"budget_bytes", checked.config.replay().budget_bytes()}};
  }
  json["learner"] = {{"algorithm_bytes", learner.algorithm_bytes},
                     {"optimizer_bytes", learner.optimizer_bytes},
                     {"prefetched_batch_bytes", learner.prefetched_batch_bytes},
                     {"memory_bytes", learner.memory_bytes}};
  json["actors_and_evaluators"] = {{"processes", actors.processes}, {"memory_bytes_each", actors.memory_bytes_each}};
  json["shared_libraries"] = {{"memory_bytes", kSharedLibraryBytes}};
  json["network"] = {{"weights_bytes_per_version", network.weights_bytes_per_version}};
  if (network.weights_bytes_per_second_at_most > 0) {
    json["network"]["weights_bytes_per_second_at_most"] = network.weights_bytes_per_second_at_most;
  }
  if (replay.has_value()) {
    json["network"]["insert_bytes_per_step"] = replay->insert_bytes_per_step;
    json["network"]["sample_bytes_per_update"] = replay->sample_bytes_per_update;
  } else {
    json["network"]["push_bytes_per_update"] = network.push_bytes_per_update;
  }
  json["disk"] = {{"checkpoint_bytes", disk.checkpoint_bytes}, {"checkpoints_kept", disk.checkpoints_kept}};
  json["disk"]["programs_bytes"] = kProgramBytes;
  if (disk.journal_bytes > 0) json["disk"]["journal_bytes"] = disk.journal_bytes;
  json["total"] = {{"memory_bytes", memory_bytes}, {"disk_bytes", disk_bytes}};
  json["warnings"] = FindWarnings(checked.config, checked.experience, estimate);
  return json.dump(2);
}

absl::StatusOr<std::string> Describe(const std::string& command, const v1::RunConfig& config) {
  ASSIGN_OR_RETURN(const Checked checked, Check(config));
  if (command == "resolve") return ResolvedText(checked.config);
  return command == "json" ? PrintJson(checked) : PrintEstimate(checked);
}

absl::Status CheckNetworks(const std::string& source, const v1::RunConfig& config) {
  ASSIGN_OR_RETURN(const Checked checked, Check(config));
  ASSIGN_OR_RETURN(const LoadedCheckpoint checkpoint, LoadNetworks(source));
  ASSIGN_OR_RETURN(const std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(checked.config, checked.environment));
  return RestoreNetworks(checkpoint, *algorithm);
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
  for (int i = 0; i < v1::Topology_descriptor()->value_count(); ++i) {
    const google::protobuf::EnumValueDescriptor& topology = *v1::Topology_descriptor()->value(i);
    if (topology.number() == v1::TOPOLOGY_UNSPECIFIED) continue;
    list["topologies"].push_back(
        {{"name", topology.name()}, {"summary", topology.options().GetExtension(v1::summary)}});
  }
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
  if (command == "certificates" && words.size() >= 3) {
    RETURN_IF_ERROR(Security::Create({.certificates = words[1], .token_file = words[2]}).status());
    RETURN_IF_ERROR(CheckCertificates(words[1], std::chrono::system_clock::now(), {words.begin() + 3, words.end()}));
    return "";
  }
  if (command == "networks" && words.size() >= 3) {
    ASSIGN_OR_RETURN(const v1::RunConfig config, LoadRunConfig(words[2], {words.begin() + 3, words.end()}));
    RETURN_IF_ERROR(CheckNetworks(words[1], config));
    return "";
  }
  if ((command != "json" && command != "resolve" && command != "estimate") || words.size() < 2) {
    return absl::InvalidArgumentError(
        "expected json, resolve or estimate CONFIG [path.to.field=value ...], resumable STORED NEW, networks SOURCE "
        "CONFIG, certificates DIR TOKEN_FILE [NAME ...], or list");
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
