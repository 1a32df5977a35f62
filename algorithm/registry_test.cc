#include "algorithm/registry.h"

#include <string>
#include <vector>

#include "ATen/Context.h"
#include "common/config_fields.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

v1::EnvironmentSpec HalfCheetahLike() {
  v1::EnvironmentSpec environment;
  environment.set_name("Cheetah");
  environment.mutable_observation()->set_data_type(v1::FLOAT64);
  environment.mutable_observation()->add_shape(17);
  environment.mutable_action()->set_data_type(v1::FLOAT64);
  environment.mutable_action()->add_shape(6);
  for (int i = 0; i < 6; ++i) {
    environment.add_action_low(-1);
    environment.add_action_high(1);
  }
  return environment;
}

v1::RunConfig SacConfig() {
  v1::RunConfig config;
  config.mutable_sac();
  SetDefaults(&config);
  return config;
}

// Of a configuration as it is loaded: with all defaults.
absl::StatusOr<Experience> MakeFullExperience(v1::RunConfig config, const v1::EnvironmentSpec& environment) {
  SetDefaults(&config);
  return MakeExperience(config, environment);
}

std::string ExperienceError(const v1::RunConfig& config, const v1::EnvironmentSpec& environment) {
  const absl::Status status = MakeFullExperience(config, environment).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

v1::EnvironmentSpec BreakoutLike() {
  v1::EnvironmentSpec environment;
  environment.set_name("Breakout");
  environment.mutable_observation()->set_data_type(v1::UINT8);
  for (const uint32_t size : {4, 10, 10}) environment.mutable_observation()->add_shape(size);
  environment.mutable_action()->set_data_type(v1::INT64);
  environment.set_discrete_actions(3);
  return environment;
}

TEST(RegistryTest, EveryAlgorithmIsAFieldOfTheConfigurationUnderItsName) {
  for (const AlgorithmFacts& facts : AllAlgorithms()) {
    const google::protobuf::FieldDescriptor* const field = v1::RunConfig::descriptor()->FindFieldByName(facts.name);
    ASSERT_NE(field, nullptr) << facts.name;
    ASSERT_NE(field->containing_oneof(), nullptr) << facts.name;
    EXPECT_EQ(field->containing_oneof()->name(), "algorithm");
    EXPECT_FALSE(facts.summary.empty() || facts.paper.empty() || facts.topologies.empty()) << facts.name;
    EXPECT_TRUE(facts.continuous_actions || facts.discrete_actions) << facts.name;
  }
}

TEST(RegistryTest, OfAStackActorsRecordTheNewestFrameAndReplayMakesStacksAgain) {
  v1::RunConfig config;
  config.mutable_dqn()->set_n_step(3);
  v1::EnvironmentSpec environment = BreakoutLike();
  environment.mutable_observation()->set_shape(0, 5 * 4);
  const auto observation = [](const Experience& experience) { return experience.signature.columns(0); };
  config.mutable_environment()->set_frame_stack(5);
  const Experience experience = *MakeFullExperience(config, environment);
  EXPECT_EQ(observation(experience).shape(0), 4u);
  EXPECT_EQ(experience.context_rows, 4u);
  for (const v1::ColumnSlice& slice : experience.slices) {
    EXPECT_EQ(slice.stack(), slice.column() == "observation" ? 5u : 0u) << slice.column();
  }
  // A round is recorded as it was seen.
  config.mutable_ppo();
  config.set_topology(v1::SYNCHRONOUS);
  const Experience round = *MakeFullExperience(config, environment);
  EXPECT_EQ(observation(round).shape(0), 20u);
  EXPECT_EQ(round.context_rows, 0u);
}

TEST(RegistryTest, RefusesAConfigurationWithoutAlgorithm) {
  const std::string message(FactsOf(v1::RunConfig()).status().message());
  EXPECT_EQ(message.rfind("the configuration names no algorithm; add one of: ", 0), 0u) << message;
}

TEST(RegistryTest, RefusesATopologyThatIsNotSupported) {
  v1::RunConfig config = SacConfig();
  config.set_topology(v1::TOPOLOGY_UNSPECIFIED);
  EXPECT_EQ(CheckFits(config, HalfCheetahLike()).message(),
            "topology: sac does not run in TOPOLOGY_UNSPECIFIED; it supports: REPLAY, CENTRAL_INFERENCE");
}

TEST(RegistryTest, RefusesDiscreteActionsForSac) {
  v1::EnvironmentSpec environment = HalfCheetahLike();
  environment.set_name("CartPole-v1");
  environment.set_discrete_actions(2);
  EXPECT_EQ(CheckFits(SacConfig(), environment).message(),
            "environment.name: sac needs continuous actions, but those of CartPole-v1 are discrete");
  EXPECT_EQ(MakePolicy(SacConfig(), environment).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(RegistryTest, RefusesRecurrentNetworksThatCannotBeLearned) {
  v1::RunConfig config;
  config.set_topology(v1::QUEUE);
  config.mutable_actor_critic()->set_burn_in(4);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "actor_critic.burn_in: 4, but without network.lstm there is no state to burn in");
  config.mutable_actor_critic()->mutable_network()->set_lstm(8);
  EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok());
  config.mutable_actor_critic()->mutable_network()->set_shared(false);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "network.lstm with network.shared: false: actors would have to record the state of a value that they do "
            "not compute; expected network.shared: true");
}

TEST(RegistryTest, ARecurrentUnrollHasItsStateOnceAndItsRowsAfterTheBurnIn) {
  v1::RunConfig config;
  config.set_topology(v1::QUEUE);
  config.mutable_actor_critic()->mutable_network()->set_lstm(8);
  config.mutable_actor_critic()->set_unroll_length(20);
  config.mutable_actor_critic()->set_burn_in(4);
  const Experience experience = *MakeFullExperience(config, HalfCheetahLike());
  EXPECT_EQ(experience.item_rows, 25u);
  EXPECT_EQ(experience.item_stride, 20u);
  for (const v1::ColumnSlice& slice : experience.slices) {
    const bool state = slice.column() == "recurrent_state";
    const bool burn_in = !state && slice.first_row() == 0;
    EXPECT_EQ(slice.rows(), state ? 1u : burn_in ? 4u : 21u) << slice.column();
    EXPECT_EQ(slice.first_row(), state || burn_in ? 0u : 4u) << slice.column();
  }
  EXPECT_EQ(experience.signature.columns(7).name(), "recurrent_state");
  EXPECT_EQ(experience.signature.columns(7).shape(0), 16u);
}

TEST(RegistryTest, RefusesWhatAQueueCannotKeep) {
  v1::RunConfig config;
  config.set_topology(v1::QUEUE);
  config.mutable_actor_critic();
  EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok());
  config.mutable_replay()->set_journal(true);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "replay.journal: true with a queue, where each item is used once: there is nothing to keep");
  config.mutable_replay()->set_journal(false);
  config.mutable_replay()->set_without_replacement(true);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "replay.without_replacement: true with a queue, where each item is used once: none comes twice in a batch");
  config.mutable_replay()->set_without_replacement(false);
  config.set_deterministic(true);
  EXPECT_EQ(
      ExperienceError(config, HalfCheetahLike()),
      "deterministic: true with a topology other than REPLAY: only there do actor and learner wait for each other "
      "at every step");
}

TEST(RegistryTest, RefusesBatchesWithoutReplacementThatReplayCannotHold) {
  v1::RunConfig config;
  config.mutable_sac()->set_batch_size(256);
  config.mutable_replay()->set_capacity(255);
  EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok());
  config.mutable_replay()->set_without_replacement(true);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "replay.without_replacement: true with batches of 256 items, and replay.capacity is 255");
  config.mutable_replay()->set_capacity(256);
  EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok());
}

TEST(RegistryTest, RefusesARunThatEndsBeforeItsFirstUpdate) {
  v1::RunConfig config = SacConfig();
  config.mutable_stop()->set_env_steps(1000);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "replay.min_steps: 1000, but the run ends at stop.env_steps, 1000: there would be no update");
  config.mutable_stop()->set_env_steps(1001);
  EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok());
}

TEST(RegistryTest, AQueueWaitsForNoFirstSteps) {
  v1::RunConfig config;
  config.mutable_actor_critic();
  config.set_topology(v1::QUEUE);
  config.mutable_stop()->set_env_steps(1);
  EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok());
}

TEST(RegistryTest, RefusesATopologyThatTheAlgorithmDoesNotRunIn) {
  v1::RunConfig config;
  config.mutable_ppo();
  EXPECT_EQ(CheckFits(config, HalfCheetahLike()).message(),
            "topology: ppo does not run in REPLAY; it supports: SYNCHRONOUS");
}

TEST(RegistryTest, RefusesMinibatchesThatARoundCannotBeDividedInto) {
  v1::RunConfig config;
  config.set_topology(v1::SYNCHRONOUS);
  config.mutable_actor()->set_processes(2);
  config.mutable_actor()->set_environments(3);
  config.mutable_ppo()->set_round_steps(10);
  for (const uint32_t minibatches : {1, 4, 15, 60}) {
    config.mutable_ppo()->set_minibatches(minibatches);
    EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok()) << minibatches;
  }
  config.mutable_ppo()->set_minibatches(8);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "ppo.minibatches: 8, into which the 60 steps of a round (actor.processes x actor.environments x "
            "ppo.round_steps: 2 x 3 x 10) cannot be divided evenly; expected a divisor of them");
}

TEST(RegistryTest, RefusesWhatFallsTowardsAnEndThatThereIsNot) {
  const auto check = [](v1::RunConfig config, const v1::EnvironmentSpec& environment, const std::string& field) {
    config.mutable_stop()->set_env_steps(0);
    EXPECT_EQ(ExperienceError(config, environment),
              field + ": true with stop.env_steps: 0, but it falls to 0 at stop.env_steps; expected a number above 0");
    config.mutable_stop()->set_env_steps(2000);
    EXPECT_TRUE(MakeFullExperience(config, environment).ok()) << field;
  };
  v1::RunConfig ppo;
  ppo.set_topology(v1::SYNCHRONOUS);
  ppo.mutable_ppo()->set_anneal_clip(true);
  check(ppo, HalfCheetahLike(), "ppo.anneal_clip");
  ppo.mutable_ppo()->mutable_optimizer()->set_anneal(true);
  check(ppo, HalfCheetahLike(), "ppo.optimizer.anneal");
  v1::RunConfig actor_critic;
  actor_critic.set_topology(v1::QUEUE);
  actor_critic.mutable_actor_critic()->mutable_optimizer()->set_anneal(true);
  check(actor_critic, HalfCheetahLike(), "actor_critic.optimizer.anneal");
  v1::RunConfig dqn;
  dqn.mutable_dqn()->mutable_optimizer()->set_anneal(true);
  dqn.mutable_dqn()->mutable_exploration()->add_end(dqn.dqn().exploration().start());
  check(dqn, BreakoutLike(), "dqn.optimizer.anneal");
}

TEST(SacExperienceTest, RecordsSinglePrecisionTransitions) {
  const Experience experience = *MakeFullExperience(SacConfig(), HalfCheetahLike());
  ASSERT_EQ(experience.signature.columns_size(), 5);
  const char* const names[] = {"observation", "action", "reward", "terminated", "policy_version"};
  const v1::DataType types[] = {v1::FLOAT32, v1::FLOAT32, v1::FLOAT32, v1::UINT8, v1::INT64};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(experience.signature.columns(i).name(), names[i]);
    EXPECT_EQ(experience.signature.columns(i).data_type(), types[i]);
    EXPECT_EQ(experience.slices[i].column(), names[i]);
    EXPECT_EQ(experience.slices[i].first_row(), 0u);
    EXPECT_EQ(experience.slices[i].rows(), i == 0 ? 2u : 1u);
  }
  EXPECT_EQ(experience.signature.columns(0).shape(0), 17u);
  EXPECT_EQ(experience.signature.columns(1).shape(0), 6u);
  EXPECT_EQ(experience.item_rows, 2u);
  EXPECT_EQ(experience.batch_size, 256u);
  EXPECT_EQ(experience.random_steps, 10000u);
  EXPECT_FALSE(experience.observation_moments);
}

TEST(SacExperienceTest, RefusesImageObservations) {
  v1::EnvironmentSpec environment = HalfCheetahLike();
  environment.mutable_observation()->set_data_type(v1::UINT8);
  EXPECT_EQ(ExperienceError(SacConfig(), environment),
            "environment.name: sac expects observations that are floating-point numbers, but those of Cheetah are "
            "bytes");
}

TEST(DqnExperienceTest, RecordsBytesAsBytesAndTheNumbersOfActions) {
  v1::RunConfig config;
  config.mutable_dqn()->set_n_step(3);
  const Experience experience = *MakeFullExperience(config, BreakoutLike());
  EXPECT_EQ(experience.signature.columns(0).data_type(), v1::UINT8);
  EXPECT_EQ(experience.signature.columns(0).shape_size(), 3);
  EXPECT_EQ(experience.signature.columns(1).data_type(), v1::INT32);
  EXPECT_EQ(experience.signature.columns(1).shape_size(), 0);
  EXPECT_EQ(experience.slices[0].rows(), 2u);
  EXPECT_EQ(experience.slices[0].stride(), 3u);
  EXPECT_EQ(experience.item_rows, 4u);
  EXPECT_EQ(experience.least_item_rows, 2u);
}

TEST(DqnExperienceTest, RefusesATorsoThatDoesNotTakeTheObservations) {
  v1::RunConfig config;
  config.mutable_dqn()->mutable_network()->set_torso(v1::NATURE);
  EXPECT_EQ(
      ExperienceError(config, BreakoutLike()),
      "network.torso: NATURE needs observations of [planes, height, width] with at least 36 x 36, got [4, 10, 10]");
}

TEST(QLearningExperienceTest, BatchesOfSynchronousRoundsAreAllEnvironments) {
  v1::RunConfig config;
  config.mutable_q_learning()->set_batch_size(8);
  config.mutable_actor()->set_processes(2);
  config.mutable_actor()->set_environments(3);
  config.set_topology(v1::QUEUE);
  EXPECT_EQ(MakeFullExperience(config, BreakoutLike())->batch_size, 8u);
  config.set_topology(v1::SYNCHRONOUS);
  EXPECT_EQ(MakeFullExperience(config, BreakoutLike())->batch_size, 6u);
  config.set_topology(v1::ASYNCHRONOUS_GRADIENTS);
  EXPECT_EQ(MakeFullExperience(config, BreakoutLike())->batch_size, 3u);
  config.mutable_q_learning()->mutable_network()->set_lstm(8);
  EXPECT_EQ(ExperienceError(config, BreakoutLike()),
            "network.lstm: 8, but networks of action values are not recurrent; expected 0");
}

// Where the policy runs changes nothing in what is recorded, how it travels, and what batches are made of.
TEST(CentralInferenceTest, AsksForTheSameExperienceAsWithPoliciesInActors) {
  v1::RunConfig actor_critic;
  actor_critic.set_topology(v1::QUEUE);
  actor_critic.mutable_actor_critic();
  for (v1::RunConfig config : {SacConfig(), actor_critic}) {
    const Experience local = *MakeFullExperience(config, HalfCheetahLike());
    config.set_topology(v1::CENTRAL_INFERENCE);
    const absl::StatusOr<Experience> central = MakeFullExperience(config, HalfCheetahLike());
    ASSERT_TRUE(central.ok()) << central.status();
    EXPECT_EQ(central->signature.DebugString(), local.signature.DebugString());
    EXPECT_EQ(central->queue, local.queue);
    EXPECT_EQ(central->span_episodes, local.span_episodes);
    EXPECT_EQ(central->item_rows, local.item_rows);
    EXPECT_EQ(central->item_stride, local.item_stride);
    EXPECT_EQ(central->max_times_sampled, local.max_times_sampled);
    EXPECT_EQ(central->sampler, local.sampler);
    EXPECT_EQ(central->remover, local.remover);
    EXPECT_EQ(central->batch_size, local.batch_size);
    EXPECT_EQ(central->random_steps, local.random_steps);
    EXPECT_EQ(central->slices.size(), local.slices.size());
  }
}

TEST(CentralInferenceTest, HasNoLockstep) {
  v1::RunConfig config = SacConfig();
  config.set_topology(v1::CENTRAL_INFERENCE);
  config.set_deterministic(true);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "deterministic: true with topology CENTRAL_INFERENCE: which requests meet in a batch depends on when they "
            "come");
}

TEST(SacExperienceTest, RefusesInLockstepWhatHasNoOrder) {
  v1::RunConfig config = SacConfig();
  config.set_deterministic(true);
  EXPECT_TRUE(MakeFullExperience(config, HalfCheetahLike()).ok());
  config.mutable_sac()->mutable_prioritized_replay()->set_enabled(true);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "deterministic: true with prioritized replay: priorities reach the shards when they do, not at a step");
  config.mutable_sac()->clear_prioritized_replay();
  config.mutable_sac()->set_normalize_observations(true);
  EXPECT_EQ(ExperienceError(config, HalfCheetahLike()),
            "deterministic: true with normalized observations: moments reach the learner when they do, not at a step");
}

TEST(MakeAlgorithmTest, PolicyOfAnActorHasTheTensorsThatTheLearnerPublishes) {
  for (const bool normalize : {false, true}) {
    v1::RunConfig config = SacConfig();
    config.mutable_sac()->set_normalize_observations(normalize);
    const std::vector<NamedTensor> published = (*MakeAlgorithm(config, HalfCheetahLike()))->PolicyTensors();
    const std::vector<NamedTensor> loaded = (*MakePolicy(config, HalfCheetahLike()))->Tensors();
    ASSERT_EQ(published.size(), loaded.size());
    EXPECT_EQ(published.size(), normalize ? 8u : 6u);
    for (size_t i = 0; i < published.size(); ++i) {
      EXPECT_EQ(published[i].name, loaded[i].name);
      EXPECT_EQ(published[i].tensor.sizes(), loaded[i].tensor.sizes());
    }
  }
}

TEST(MakeAlgorithmTest, SaysWhenTheDeviceIsNotThere) {
  v1::RunConfig config = SacConfig();
  config.set_device("tpu");
  EXPECT_EQ(MakeAlgorithm(config, HalfCheetahLike()).status().code(), absl::StatusCode::kInvalidArgument);
  config.set_device("cuda:63");
  EXPECT_EQ(MakeAlgorithm(config, HalfCheetahLike()).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace headrace
