#include "algorithm/registry.h"

#include <algorithm>
#include <exception>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "algorithm/actor_critic.h"
#include "algorithm/actor_critic_experience.h"
#include "algorithm/dqn.h"
#include "algorithm/ppo.h"
#include "algorithm/q_experience.h"
#include "algorithm/q_learning.h"
#include "algorithm/sac.h"
#include "algorithm/sac_experience.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

struct Entry {
  AlgorithmFacts facts;
  absl::StatusOr<Experience> (*experience)(const v1::RunConfig&, const v1::EnvironmentSpec&);
  absl::StatusOr<std::unique_ptr<Algorithm>> (*algorithm)(const v1::RunConfig&, const v1::EnvironmentSpec&);
  absl::StatusOr<std::unique_ptr<Policy>> (*policy)(const v1::RunConfig&, const v1::EnvironmentSpec&);
};

const std::vector<Entry>& Entries() {
  static const auto* const entries = new std::vector<Entry>{
      {SacFacts(), MakeSacExperience, MakeSac, MakeSacPolicy},
      {ActorCriticFacts(), MakeActorCriticExperience, MakeActorCritic, MakeActorCriticPolicy},
      {PpoFacts(), MakePpoExperience, MakePpo, MakePpoPolicy},
      {DqnFacts(), MakeDqnExperience, MakeDqn, MakeDqnPolicy},
      {QLearningFacts(), MakeQLearningExperience, MakeQLearning, MakeQLearningPolicy},
  };
  return *entries;
}

absl::StatusOr<const Entry*> Find(const v1::RunConfig& config) {
  const google::protobuf::OneofDescriptor* const oneof = v1::RunConfig::descriptor()->FindOneofByName("algorithm");
  const google::protobuf::FieldDescriptor* const field = config.GetReflection()->GetOneofFieldDescriptor(config, oneof);
  std::vector<std::string> names;
  for (const Entry& entry : Entries()) {
    if (field != nullptr && entry.facts.name == field->name()) return &entry;
    names.push_back(entry.facts.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the configuration names ", field == nullptr ? "no algorithm" : "an algorithm that is not known: ",
                   field == nullptr ? "" : field->name(), "; add one of: ", absl::StrJoin(names, ", ")));
}

// In lockstep everything has its place in one order; what reaches a process when it does has none. What a journal keeps
// is inserted again, and what comes from a queue comes once. A queue's learner waits for a batch and for no first
// steps.
absl::Status CheckFlow(const v1::RunConfig& config, const Experience& experience) {
  if (experience.round_steps > 0 && config.actor().on_backpressure() == v1::DROP_EPISODE) {
    return absl::InvalidArgumentError(
        "actor.on_backpressure: DROP_EPISODE, but in synchronous rounds every step belongs to a round");
  }
  const bool subscribed = config.topology() == v1::REPLAY || config.topology() == v1::QUEUE;
  if (config.actor().policy_delay_updates() > 0 && !subscribed) {
    return absl::InvalidArgumentError(
        absl::StrCat("actor.policy_delay_updates: ", config.actor().policy_delay_updates(), " with topology ",
                     v1::Topology_Name(config.topology()),
                     ": only with REPLAY and QUEUE do actors choose which weights they act with"));
  }
  const uint64_t end = config.stop().env_steps();
  if (!experience.queue && end > 0 && config.replay().min_steps() >= end) {
    return absl::InvalidArgumentError(absl::StrCat("replay.min_steps: ", config.replay().min_steps(),
                                                   ", but the run ends at stop.env_steps, ", end,
                                                   ": there would be no update"));
  }
  if (experience.queue && config.replay().journal()) {
    return absl::InvalidArgumentError(
        "replay.journal: true with a queue, where each item is used once: there is nothing to keep");
  }
  if (config.replay().without_replacement()) {
    if (experience.queue) {
      return absl::InvalidArgumentError(
          "replay.without_replacement: true with a queue, where each item is used once: none comes twice in a batch");
    }
    if (experience.batch_size > config.replay().capacity()) {
      return absl::InvalidArgumentError(absl::StrCat("replay.without_replacement: true with batches of ",
                                                     experience.batch_size, " items, and replay.capacity is ",
                                                     config.replay().capacity()));
    }
  }
  if (!config.deterministic()) return absl::OkStatus();
  if (config.topology() == v1::CENTRAL_INFERENCE) {
    return absl::InvalidArgumentError(
        "deterministic: true with topology CENTRAL_INFERENCE: which requests meet in a batch depends on when they "
        "come");
  }
  if (experience.queue) {
    return absl::InvalidArgumentError(
        "deterministic: true with a topology other than REPLAY: only there do actor and learner wait for each other at "
        "every step");
  }
  if (experience.sampler == v1::PROPORTIONAL) {
    return absl::InvalidArgumentError(
        "deterministic: true with prioritized replay: priorities reach the shards when they do, not at a step");
  }
  if (experience.observation_moments) {
    return absl::InvalidArgumentError(
        "deterministic: true with normalized observations: moments reach the learner when they do, not at a step");
  }
  return absl::OkStatus();
}

// Observations are stacks of frames: actors record the newest frame of each, and the shard makes stacks of them again.
void StoreFramesOnce(uint32_t frames, Experience& experience) {
  if (frames == 1) return;
  experience.context_rows = frames - 1;
  for (v1::Column& column : *experience.signature.mutable_columns()) {
    if (column.name() == "observation") column.set_shape(0, column.shape(0) / frames);
  }
  for (v1::ColumnSlice& slice : experience.slices) {
    if (slice.column() == "observation") slice.set_stack(frames);
  }
}

void CompressImages(uint64_t from_bytes, Experience& experience) {
  for (v1::Column& column : *experience.signature.mutable_columns()) {
    uint64_t bytes = 1;
    for (const uint32_t dimension : column.shape()) bytes *= dimension;
    if (column.data_type() == v1::UINT8 && from_bytes > 0 && bytes >= from_bytes) column.set_compression(v1::LZ4);
  }
}

// What LibTorch throws while networks are built ends here.
template <typename Make>
auto CatchExceptions(const std::string& name, const Make& make) -> decltype(make()) {
  try {
    return make();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(name, ": the networks could not be built: ", error.what()));
  }
}

}  // namespace

const std::vector<AlgorithmFacts>& AllAlgorithms() {
  static const auto* const facts = [] {
    auto* const all = new std::vector<AlgorithmFacts>;
    for (const Entry& entry : Entries()) all->push_back(entry.facts);
    return all;
  }();
  return *facts;
}

absl::StatusOr<AlgorithmFacts> FactsOf(const v1::RunConfig& config) {
  ASSIGN_OR_RETURN(const Entry* const entry, Find(config));
  return entry->facts;
}

absl::Status CheckFits(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  ASSIGN_OR_RETURN(const AlgorithmFacts facts, FactsOf(config));
  if (std::find(facts.topologies.begin(), facts.topologies.end(), config.topology()) == facts.topologies.end()) {
    std::vector<std::string> supported;
    for (const v1::Topology topology : facts.topologies) supported.push_back(v1::Topology_Name(topology));
    return absl::InvalidArgumentError(absl::StrCat("topology: ", facts.name, " does not run in ",
                                                   v1::Topology_Name(config.topology()),
                                                   "; it supports: ", absl::StrJoin(supported, ", ")));
  }
  const bool discrete = environment.discrete_actions() > 0;
  if (discrete ? !facts.discrete_actions : !facts.continuous_actions) {
    return absl::InvalidArgumentError(absl::StrCat("environment.name: ", facts.name, " needs ",
                                                   discrete ? "continuous" : "discrete", " actions, but those of ",
                                                   environment.name(), " are ", discrete ? "discrete" : "continuous"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Experience> MakeExperience(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  RETURN_IF_ERROR(CheckFits(config, environment));
  ASSIGN_OR_RETURN(const Entry* const entry, Find(config));
  ASSIGN_OR_RETURN(Experience experience, entry->experience(config, environment));
  RETURN_IF_ERROR(CheckFlow(config, experience));
  // What comes in rounds is gone after one: it is not worth the trouble, and a round begins in mid-episode.
  if (experience.round_steps == 0) StoreFramesOnce(config.environment().frame_stack(), experience);
  CompressImages(config.replay().compress_from_bytes(), experience);
  return experience;
}

absl::StatusOr<std::unique_ptr<Algorithm>> MakeAlgorithm(const v1::RunConfig& config,
                                                         const v1::EnvironmentSpec& environment) {
  RETURN_IF_ERROR(MakeExperience(config, environment).status());
  ASSIGN_OR_RETURN(const Entry* const entry, Find(config));
  return CatchExceptions(entry->facts.name, [&] { return entry->algorithm(config, environment); });
}

absl::StatusOr<std::unique_ptr<Policy>> MakePolicy(const v1::RunConfig& config,
                                                   const v1::EnvironmentSpec& environment) {
  RETURN_IF_ERROR(MakeExperience(config, environment).status());
  ASSIGN_OR_RETURN(const Entry* const entry, Find(config));
  return CatchExceptions(entry->facts.name, [&] { return entry->policy(config, environment); });
}

}  // namespace headrace
