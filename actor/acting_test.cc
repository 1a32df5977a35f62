// The acting loop with everything around it that is real, but for the environment and the policy: a replay shard, a run
// service and a parameter service on loopback.
#include "actor/acting.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "algorithm/unroll_experience.h"
#include "common/config.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learner/parameter_service.h"
#include "learner/run_service.h"
#include "model/weights.h"
#include "replay/service_testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

// Counts: o_t is (episode, t), the reward of step t is t + 1. Terminates after `length` steps, and throws in those
// steps, counted over all episodes from 0, that `crashes` names.
class CountingEnvironment : public Environment {
 public:
  // `unit`: t is counted in it.
  CountingEnvironment(int length, std::vector<int> crashes, double unit = 1)
      : length_(length), crashes_(std::move(crashes)), unit_(unit) {
    facts_.name = "Counting";
    facts_.observation = {.data_type = v1::FLOAT64, .shape = {2}};
    facts_.action = {.low = {-1}, .high = {1}};
  }
  const EnvironmentFacts& facts() const override { return facts_; }
  void Reset(RandomStream&, std::span<std::byte> observation) override {
    ++episode_;
    t_ = 0;
    Observe(observation);
  }
  StepResult Step(const Action&, std::span<std::byte> observation) override {
    const int step = steps_++;
    if (std::find(crashes_.begin(), crashes_.end(), step) != crashes_.end()) {
      throw std::runtime_error(absl::StrCat("crash in step ", step));
    }
    ++t_;
    Observe(observation);
    return {.reward = static_cast<double>(t_), .terminated = t_ == length_};
  }
  std::vector<double> State() const override { return {}; }
  absl::Status SetState(std::span<const double>) override { return absl::UnimplementedError("has no state"); }

 private:
  void Observe(std::span<std::byte> observation) const {
    const std::array<double, 2> values = {static_cast<double>(episode_), t_ * unit_};
    std::memcpy(observation.data(), values.data(), sizeof(values));
  }

  const int length_;
  const std::vector<int> crashes_;
  const double unit_;
  EnvironmentFacts facts_;
  int episode_ = -1;
  int t_ = 0;
  int steps_ = 0;
};

// Acts with 0.25 at random, with its only weight otherwise, and draws a number each time. Where it has a memory, it
// counts observations.
class WeightPolicy : public Policy {
 public:
  explicit WeightPolicy(std::vector<uint32_t>* drawn = nullptr) : drawn_(drawn) {}
  void Act(const at::Tensor&, ActMode mode, RandomStream& random, at::Tensor& recurrent_state, at::Tensor& actions,
           at::Tensor&) override {
    if (recurrent_state.defined()) recurrent_state += 1;
    if (drawn_ != nullptr) drawn_->push_back(random());
    if (mode == ActMode::kRandom) {
      actions.fill_(0.25);
    } else {
      actions.fill_(weight_);
    }
  }
  std::vector<NamedTensor> Tensors() const override { return {{"weight", weight_}}; }

 private:
  std::vector<uint32_t>* const drawn_;
  at::Tensor weight_ = at::zeros({}, at::kFloat);
};

// A transition as it lies in replay.
struct Transition {
  std::array<float, 4> observations;  // (episode, t), (episode, t + 1)
  float action;
  float reward;
  uint8_t terminated;
  int64_t version;
};

class ActingTest : public testing::Test {
 protected:
  ActingTest() : server_(*GrpcServer::Start("127.0.0.1:0", {&members_, &parameters_})), metrics_(registry_) {
    const auto add = [&](const std::string& name, v1::DataType type, std::vector<uint32_t> shape = {}) {
      v1::Column& column = *experience_.signature.add_columns();
      column.set_name(name);
      column.set_data_type(type);
      column.mutable_shape()->Add(shape.begin(), shape.end());
    };
    add("observation", v1::FLOAT32, {2});
    add("action", v1::FLOAT32, {1});
    add("reward", v1::FLOAT32);
    add("terminated", v1::UINT8);
    add("policy_version", v1::INT64);
    config_ = *ParseRunConfig("environment { name: \"Counting\" } sac {}", "test",
                              {"actor.chunk_rows=8", "actor.window_bytes=1024"});
  }

  // `insert_limit`: steps that replay takes before it closes.
  void Start(int episode_steps, std::vector<int> crashes, uint64_t insert_limit, uint64_t random_steps = 0) {
    v1::TableSpec table;
    table.set_name("experience");
    *table.mutable_signature() = experience_.signature;
    table.set_sampler(v1::FIRST_IN_FIRST_OUT);
    table.set_remover(v1::FIRST_IN_FIRST_OUT);
    table.set_max_times_sampled(1);
    table.set_max_bytes(1 << 20);
    table.set_max_item_rows(experience_.context_rows + experience_.item_rows);
    table.set_min_item_rows(experience_.ShortestItemRows());
    table.set_context_rows(experience_.context_rows);
    table.set_items_span_episodes(experience_.span_episodes);
    table.set_initial_insert_limit(insert_limit);
    ASSERT_TRUE(shard_.shard().CreateTable(MakePeer("run", "learner"), table).ok());
    v1::Lease lease;
    lease.set_run_id("run");
    *lease.mutable_table() = table;
    members_.Open(lease, [random_steps](uint64_t) { return random_steps; });
    v1::Join join;
    *join.mutable_peer() = MakePeer("", "actor");
    join.set_role(v1::ACTOR);
    attendance_ = std::make_unique<Attendance>(server_->address(), join);
    const absl::StatusOr<v1::Lease> granted = attendance_->WaitForLease(Soon());
    ASSERT_TRUE(granted.ok()) << granted.status();
    subscriber_ = std::make_unique<ParameterSubscriber>(server_->address(), MakePeer("run", "actor 0"));

    lease_ = *granted;
    acting_ = Make(std::make_unique<CountingEnvironment>(episode_steps, std::move(crashes)),
                   std::make_unique<WeightPolicy>(), subscriber_.get());
  }

  // An actor under lease_.
  std::unique_ptr<Acting> Make(std::unique_ptr<Environment> environment, std::unique_ptr<Policy> policy,
                               ParameterSubscriber* parameters) {
    std::vector<std::unique_ptr<Environment>> environments;
    environments.push_back(std::move(environment));
    const auto should_stop = [this] {
      return stop_ || (steps_wanted_ > 0 && metrics_.env_steps.Value() >= steps_wanted_);
    };
    const ActingOptions options = {config_, lease_, experience_, drain_patience_};
    action_sources_.push_back(std::make_unique<LocalActionSource>(
        std::move(policy), parameters, ExplorationStream(config_, lease_),
        LocalActionSource::Options{.round_steps = experience_.round_steps}, &metrics_, should_stop));
    writers_.push_back(*StartReplayWriter(options, shards_));
    absl::StatusOr<std::unique_ptr<Acting>> acting =
        Acting::Create(options, *VectorEnvironment::Create(std::move(environments), LaneOptions(config_, lease_)),
                       action_sources_.back().get(), writers_.back().get(), attendance_.get(), &metrics_, should_stop);
    EXPECT_TRUE(acting.ok()) << acting.status();
    return *std::move(acting);
  }

  void Publish(float weight, uint64_t update) {
    const absl::StatusOr<std::string> file = SaveTensors({{"weight", at::full({}, weight)}}, {});
    ASSERT_TRUE(file.ok()) << file.status();
    parameters_.Publish(PackPolicyVersion(1, update), 0, *file);
  }

  // On this thread, so many steps.
  void Act(double steps) {
    steps_wanted_ = metrics_.env_steps.Value() + steps;
    const absl::Status status = acting_->Run();
    EXPECT_TRUE(status.ok()) << status;
  }

  // All transitions in replay, oldest first.
  std::vector<Transition> Transitions() {
    const uint32_t count = static_cast<uint32_t>(shard_.table().State().items());
    std::vector<Transition> transitions(count);
    if (count == 0) return transitions;
    Table::Batch batch;
    const absl::StatusOr<Table::Outcome> sampled = shard_.table().Sample({count, 2, 0}, batch, {this, [] {}});
    EXPECT_TRUE(sampled.ok() && *sampled == Table::Outcome::kDone);
    std::vector<std::array<float, 4>> observations(count);
    std::vector<float> actions(count), rewards(count);
    std::vector<uint8_t> terminated(count);
    std::vector<int64_t> versions(count);
    const std::vector<Slice> slices = {{0, 0, 2}, {1, 0, 1}, {2, 0, 1}, {3, 0, 1}, {4, 0, 1}};
    const std::vector<std::byte*> blocks = {
        reinterpret_cast<std::byte*>(observations.data()), reinterpret_cast<std::byte*>(actions.data()),
        reinterpret_cast<std::byte*>(rewards.data()), reinterpret_cast<std::byte*>(terminated.data()),
        reinterpret_cast<std::byte*>(versions.data())};
    shard_.table().Gather(batch.items(), slices, blocks);
    for (uint32_t i = 0; i < count; ++i) {
      transitions[i] = {observations[i], actions[i], rewards[i], terminated[i], versions[i]};
    }
    return transitions;
  }

  std::vector<v1::Episode> Episodes(size_t count) {
    std::vector<v1::Episode> episodes;
    while (episodes.size() < count) {
      for (v1::Episode& episode : members_.TakeReports().episodes) episodes.push_back(std::move(episode));
    }
    return episodes;
  }

  TestShard shard_;
  RunService members_{"run", 1, [](const v1::EnvironmentSpec&) { return absl::OkStatus(); }};
  ParameterService parameters_{"run"};
  std::unique_ptr<GrpcServer> server_;
  MetricRegistry registry_{"actor"};
  ActorMetrics metrics_;
  Experience experience_;
  v1::RunConfig config_;
  std::atomic<bool> stop_ = false;
  double steps_wanted_ = 0;
  std::chrono::seconds drain_patience_{60};  // enough for any machine: what was experienced is in replay after Act
  std::unique_ptr<Attendance> attendance_;
  std::unique_ptr<ParameterSubscriber> subscriber_;
  v1::Lease lease_;
  std::vector<std::unique_ptr<ActionSource>> action_sources_;  // of all actors so far
  std::vector<std::string> shards_{shard_.address()};
  std::vector<std::unique_ptr<RowWriter>> writers_;
  std::unique_ptr<Acting> acting_;
};

// Rounds of 3 steps, episodes of 2: the rows of the first are step, step, final observation, step and the observation
// where it was cut, those of the second step, final observation, step, step, final observation and the next episode's
// first observation.
TEST_F(ActingTest, ARoundIsOfOnePolicyAndTheNextWaitsForANewerOne) {
  experience_.round_steps = 3;
  experience_.item_rows = 7;
  experience_.least_item_rows = 1;
  experience_.span_episodes = true;
  experience_.return_discount = 0.5;
  v1::Column& column = *experience_.signature.add_columns();
  column.set_name("observation_only");
  column.set_data_type(v1::UINT8);
  Start(/*episode_steps=*/2, {}, /*insert_limit=*/1000);
  Publish(0.25, 1);
  Act(2);
  Publish(0.75, 2);  // in the middle of a round, which goes on with what it began with
  while (subscriber_->newest_version() < PackPolicyVersion(1, 2)) std::this_thread::yield();
  std::thread actor([this] { Act(4); });
  while (shard_.table().State().inserted_items() < 2) std::this_thread::yield();
  EXPECT_EQ(shard_.table().State().inserted_steps(), 6u);
  Publish(0.5, 3);  // for which it waits
  actor.join();

  Table::Batch batch;
  const absl::StatusOr<Table::Outcome> sampled = shard_.table().Sample({2, 1, 0}, batch, {this, [] {}});
  ASSERT_TRUE(sampled.ok() && *sampled == Table::Outcome::kDone);
  ASSERT_EQ(batch.items()[0].rows, 5);
  ASSERT_EQ(batch.items()[1].rows, 6);
  std::array<std::array<std::array<float, 2>, 7>, 2> observations;
  std::array<std::array<int64_t, 7>, 2> versions;
  std::array<std::array<uint8_t, 7>, 2> observation_only;
  const std::vector<Slice> slices = {{0, 0, 7}, {4, 0, 7}, {5, 0, 7}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(observations.data()),
                                          reinterpret_cast<std::byte*>(versions.data()),
                                          reinterpret_cast<std::byte*>(observation_only.data())};
  shard_.table().Gather(batch.items(), slices, blocks);
  using Observations = std::array<std::array<float, 2>, 7>;
  // (episode, t); what comes after an item's end repeats its last row.
  EXPECT_EQ(observations[0], (Observations{{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 1}, {1, 1}}}));
  EXPECT_EQ(observations[1], (Observations{{{1, 1}, {1, 2}, {2, 0}, {2, 1}, {2, 2}, {3, 0}, {3, 0}}}));
  EXPECT_EQ(observation_only[0], (std::array<uint8_t, 7>{0, 0, 1, 0, 1, 1, 1}));
  EXPECT_EQ(observation_only[1], (std::array<uint8_t, 7>{0, 1, 0, 0, 1, 1, 1}));
  const auto first = static_cast<int64_t>(PackPolicyVersion(1, 1));
  const auto second = static_cast<int64_t>(PackPolicyVersion(1, 2));
  EXPECT_EQ(versions[0], (std::array<int64_t, 7>{first, first, 0, first, 0, 0, 0}));
  EXPECT_EQ(versions[1], (std::array<int64_t, 7>{second, 0, second, second, 0, 0, 0}));
  // Rewards 1, 2 in each episode: discounted sums so far 1, 2.5, three times.
  double count = 0, sum = 0;
  while (count < 6) {
    for (const v1::Moments& moments : members_.TakeReports().return_moments) {
      count += moments.count();
      sum += moments.count() * moments.mean(0);
    }
  }
  EXPECT_NEAR(sum, 3 * (1 + 2.5), 1e-9);
}

// Step 3 is the first of the second round: of that round there are two steps, and of the third, in which everything
// crashes, none. The shard used to refuse such rounds, and the actor with them.
TEST_F(ActingTest, ACrashRightAfterARoundWasCutMakesTheNextOneShorter) {
  v1::EnvironmentSpec environment;
  environment.mutable_observation()->set_data_type(v1::FLOAT64);
  environment.mutable_observation()->add_shape(2);
  environment.mutable_action()->set_data_type(v1::FLOAT64);
  environment.mutable_action()->add_shape(1);
  experience_ = *MakeRoundExperience(environment, /*steps=*/3);
  Start(/*episode_steps=*/100, /*crashes=*/{3, 6, 7, 8}, /*insert_limit=*/1000);
  std::thread actor([this] { Act(9); });
  const auto end = Soon();
  for (uint64_t round = 1; round <= 3; ++round) {
    Publish(0, round);
    while (shard_.table().State().inserted_items() < round && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
  }
  actor.join();
  EXPECT_EQ(shard_.table().State().inserted_steps(), 3 + 2 + 0);

  Table::Batch batch;
  const absl::StatusOr<Table::Outcome> sampled = shard_.table().Sample({3, 1, 0}, batch, {this, [] {}});
  ASSERT_TRUE(sampled.ok() && *sampled == Table::Outcome::kDone);
  std::array<std::array<std::array<float, 2>, 4>, 3> observations;
  std::array<std::array<uint8_t, 4>, 3> observation_only;
  const std::vector<Slice> slices = {{0, 0, 4}, {4, 0, 4}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(observations.data()),
                                          reinterpret_cast<std::byte*>(observation_only.data())};
  shard_.table().Gather(batch.items(), slices, blocks);
  using Observations = std::array<std::array<float, 2>, 4>;
  // (episode, t); what comes after an item's end repeats its last row.
  EXPECT_EQ(observations[0], (Observations{{{0, 0}, {0, 1}, {0, 2}, {0, 3}}}));
  EXPECT_EQ(observations[1], (Observations{{{1, 0}, {1, 1}, {1, 2}, {1, 2}}}));
  EXPECT_EQ(observations[2], (Observations{{{4, 0}, {4, 0}, {4, 0}, {4, 0}}}));
  EXPECT_EQ(observation_only[0], (std::array<uint8_t, 4>{0, 0, 0, 1}));
  EXPECT_EQ(observation_only[1], (std::array<uint8_t, 4>{0, 0, 1, 1}));
  EXPECT_EQ(observation_only[2], (std::array<uint8_t, 4>{1, 1, 1, 1}));
}

// Episodes of 2 steps: the rows are step, step, final observation, and so on. The actor that follows another in the
// middle of an episode knows nothing of it.
TEST_F(ActingTest, RowsHoldTheStateBeforeTheirObservationAndEpisodesBeginWithZeros) {
  experience_.item_rows = 6;
  experience_.span_episodes = true;
  v1::Column& column = *experience_.signature.add_columns();
  column.set_name("recurrent_state");
  column.set_data_type(v1::FLOAT32);
  column.add_shape(1);
  Start(/*episode_steps=*/2, {}, /*insert_limit=*/1000, /*random_steps=*/1000);
  Act(5);
  acting_ = Make(std::make_unique<CountingEnvironment>(2, std::vector<int>{}), std::make_unique<WeightPolicy>(),
                 subscriber_.get());
  Act(5);

  Table::Batch batch;
  const absl::StatusOr<Table::Outcome> sampled = shard_.table().Sample({4, 1, 0}, batch, {this, [] {}});
  ASSERT_TRUE(sampled.ok() && *sampled == Table::Outcome::kDone);
  std::array<std::array<float, 6>, 4> states;  // of items that begin with row 0 and 1 of the first actor and the second
  const std::vector<Slice> slices = {{5, 0, 6}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(states.data())};
  shard_.table().Gather(batch.items(), slices, blocks);
  for (const int first : {0, 2}) {
    EXPECT_EQ(states[first], (std::array<float, 6>{0, 1, 0, 0, 1, 0}));
    EXPECT_EQ(states[first + 1], (std::array<float, 6>{1, 0, 0, 1, 0, 0}));
  }
}

TEST_F(ActingTest, WhatItDoesNotKnowYetIsNoFigure) {
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000, /*random_steps=*/2);
  Act(2);
  EXPECT_TRUE(std::isnan(metrics_.policy_version.Value()));
  EXPECT_TRUE(std::isnan(metrics_.episode_return.Value()));
  Publish(0.5, 7);
  Act(1);
  EXPECT_EQ(metrics_.policy_version.Value(), 7);
  EXPECT_EQ(metrics_.episode_return.Value(), 1 + 2 + 3);
}

// Two episodes of 3 steps and one of which 2 steps are done: 3 + 3 + 2 steps, and as many transitions but for the last,
// whose next observation has not come.
TEST_F(ActingTest, StepsBecomeTransitionsThatNeverSpanEpisodes) {
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000);
  Publish(0.5, 7);
  Act(8);
  EXPECT_EQ(shard_.table().State().inserted_steps(), 8);
  const std::vector<Transition> transitions = Transitions();
  ASSERT_EQ(transitions.size(), 7);
  for (int i = 0; i < 7; ++i) {
    const float episode = static_cast<float>(i / 3), t = static_cast<float>(i % 3);
    EXPECT_EQ(transitions[i].observations, (std::array<float, 4>{episode, t, episode, t + 1})) << i;
    EXPECT_EQ(transitions[i].action, 0.5f);
    EXPECT_EQ(transitions[i].reward, t + 1);
    EXPECT_EQ(transitions[i].terminated, t == 2 ? 1 : 0);
    EXPECT_EQ(transitions[i].version, static_cast<int64_t>(PackPolicyVersion(1, 7)));
  }
  const std::vector<v1::Episode> episodes = Episodes(2);
  EXPECT_EQ(episodes[1].episode_return(), 1 + 2 + 3);
  EXPECT_EQ(episodes[1].length(), 3);
  EXPECT_EQ(episodes[1].end(), v1::TERMINATED);
  EXPECT_EQ(episodes[1].policy_version(), PackPolicyVersion(1, 7));
}

// Remembers what it was shown.
class WatchingPolicy : public WeightPolicy {
 public:
  using Seen = std::vector<std::array<float, 6>>;  // stacks of three frames
  explicit WatchingPolicy(Seen* seen) : seen_(seen) {}
  void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
           at::Tensor& actions, at::Tensor& log_probs) override {
    ASSERT_EQ(observations.numel(), 6);
    std::memcpy(seen_->emplace_back().data(), observations.const_data_ptr(), sizeof(float) * 6);
    WeightPolicy::Act(observations, mode, random, recurrent_state, actions, log_probs);
  }

 private:
  Seen* const seen_;
};

TEST_F(ActingTest, ReplayHoldsEachFrameOnceAndGivesTheStacksThatThePolicySaw) {
  config_.mutable_environment()->set_frame_stack(3);
  experience_.context_rows = 2;
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000, /*random_steps=*/1000);
  WatchingPolicy::Seen seen;
  acting_ = Make(std::make_unique<CountingEnvironment>(3, std::vector<int>{}), std::make_unique<WatchingPolicy>(&seen),
                 subscriber_.get());
  Act(8);
  EXPECT_EQ(seen[1], (std::array<float, 6>{0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(seen[5], (std::array<float, 6>{1, 0, 1, 1, 1, 2}));
  Table::Batch batch;
  ASSERT_EQ(*shard_.table().Sample({7, 2, 0}, batch, {this, [] {}}), Table::Outcome::kDone);
  std::array<std::array<std::array<float, 6>, 2>, 7> stacks;
  const std::vector<Slice> slices = {{.column = 0, .first_row = 0, .rows = 2, .stack = 3}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(stacks.data())};
  shard_.table().Gather(batch.items(), slices, blocks);
  for (size_t i = 0; i < stacks.size(); ++i) {
    EXPECT_EQ(stacks[i][0], seen[i]) << i;
    const bool last = i % 3 == 2;  // whose next observation nobody acted on
    EXPECT_EQ(stacks[i][1], last ? (std::array<float, 6>{seen[i][2], seen[i][3], seen[i][4], seen[i][5], seen[i][4], 3})
                                 : seen[i + 1])
        << i;
  }
}

// Step 4 is the second of episode 1: its transition is dropped, the one before it stays, and episode 2 begins.
TEST_F(ActingTest, ACrashCostsOneEpisodeAndItsLastTransition) {
  Start(/*episode_steps=*/3, /*crashes=*/{4}, /*insert_limit=*/1000);
  Publish(0, 1);
  Act(8);
  std::vector<std::pair<float, float>> starts;
  for (const Transition& transition : Transitions()) {
    EXPECT_EQ(transition.observations[0], transition.observations[2]);
    EXPECT_EQ(transition.observations[1] + 1, transition.observations[3]);
    starts.emplace_back(transition.observations[0], transition.observations[1]);
  }
  const std::vector<std::pair<float, float>> expected = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {2, 0}, {2, 1}, {2, 2}};
  EXPECT_EQ(starts, expected);
  const std::vector<v1::Episode> episodes = Episodes(3);
  EXPECT_EQ(episodes[1].end(), v1::INTERRUPTED);
  EXPECT_EQ(episodes[1].cause(), "crash in step 4");
  EXPECT_EQ(episodes[1].length(), 1);
  EXPECT_EQ(metrics_.interrupted_episodes.exception.Value(), 1);
}

TEST_F(ActingTest, ACrashInTheFirstStepOfAnEpisodeLeavesNothingOfIt) {
  Start(/*episode_steps=*/2, /*crashes=*/{0, 1, 4}, /*insert_limit=*/1000);
  Publish(0, 1);
  Act(7);
  // Episodes 0 and 1 have no step, 2 has two (steps 2 and 3), 3 has none, 4 has two (steps 5 and 6).
  std::vector<float> episodes;
  for (const Transition& transition : Transitions()) episodes.push_back(transition.observations[0]);
  EXPECT_THAT(episodes, testing::ElementsAre(2, 2, 4, 4));
  EXPECT_EQ(shard_.table().State().inserted_steps(), 4);
}

TEST_F(ActingTest, AnEnvironmentThatDoesNothingButFailEndsTheLoopWithTheCause) {
  std::vector<int> crashes(200);
  std::iota(crashes.begin(), crashes.end(), 0);
  std::erase(crashes, 60);  // after which it has failed 60 times, and is counted anew
  Start(/*episode_steps=*/3, crashes, /*insert_limit=*/1000);
  Publish(0, 1);
  const absl::Status status = acting_->Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "lane 0 of Counting has failed at each of its last 100 steps: crash in step 160");
  EXPECT_EQ(metrics_.env_steps.Value(), 161);
  EXPECT_EQ(metrics_.interrupted_episodes.exception.Value(), 160);
}

TEST_F(ActingTest, AnEnvironmentThatCannotBeResetEndsTheLoopWithTheCause) {
  class Hopeless : public CountingEnvironment {
   public:
    Hopeless() : CountingEnvironment(1, {}) {}
    void Reset(RandomStream& random, std::span<std::byte> observation) override {
      if (resets_++ > 0) throw std::runtime_error("the licence has expired");
      CountingEnvironment::Reset(random, observation);
    }

   private:
    int resets_ = 0;
  };
  Start(/*episode_steps=*/1, {}, /*insert_limit=*/1000);
  Publish(0, 1);
  acting_ = Make(std::make_unique<Hopeless>(), std::make_unique<WeightPolicy>(), subscriber_.get());
  const absl::Status status = acting_->Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the licence has expired"));
}

// An actor that took the place of one that was killed used to explore as that one had.
TEST_F(ActingTest, ExploresAnewUnderAnotherLeaseOfTheSameIndex) {
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000, /*random_steps=*/1000);
  const auto explored = [&](uint64_t generation) {
    lease_.set_generation(generation);
    std::vector<uint32_t> drawn;
    acting_ = Make(std::make_unique<CountingEnvironment>(3, std::vector<int>{}), std::make_unique<WeightPolicy>(&drawn),
                   subscriber_.get());
    Act(4);
    return drawn;
  };
  EXPECT_EQ(explored(1), explored(1));
  EXPECT_NE(explored(1), explored(2));
}

TEST(LaneOptionsTest, AnotherLeaseOfTheSameIndexStartsFromOtherStates) {
  const v1::RunConfig config = *ParseRunConfig("environment { name: \"Pendulum-v1\" } sac {}", "test", {});
  const auto initial = [&](uint64_t generation) {
    v1::Lease lease;
    lease.set_generation(generation);
    const auto lanes = *VectorEnvironment::Create("Pendulum-v1", LaneOptions(config, lease));
    return std::vector<std::byte>(lanes->observations().begin(), lanes->observations().end());
  };
  EXPECT_EQ(initial(1), initial(1));
  EXPECT_NE(initial(1), initial(2));
}

// 0, 2e38 and 4e38, of which a float32 makes infinity: replay used to refuse the actor for good.
TEST_F(ActingTest, AnObservationThatOverflowsOnlyInReplayCostsAnEpisode) {
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000);
  Publish(0, 1);
  acting_ = Make(std::make_unique<CountingEnvironment>(3, std::vector<int>{}, 2e38), std::make_unique<WeightPolicy>(),
                 subscriber_.get());
  steps_wanted_ = 4;
  const absl::Status status = acting_->Run();
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<v1::Episode> episodes = Episodes(2);
  EXPECT_EQ(episodes[0].end(), v1::INTERRUPTED);
  EXPECT_EQ(episodes[0].length(), 1);
  EXPECT_EQ(episodes[0].cause(), "observation[1] is 4e+38");
  EXPECT_EQ(Transitions().size(), 2);
}

// Neither is the configuration's fault, which a status of bad arguments would be taken for.
TEST_F(ActingTest, ADivergedPolicyIsAFailure) {
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000);
  Publish(std::numeric_limits<float>::quiet_NaN(), 1);
  const absl::Status status = acting_->Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("action[0] of lane 0 of Counting is not a number"));
}

TEST_F(ActingTest, ExperienceThatTheShardRefusesIsAFailure) {
  class DivergedPolicy : public WeightPolicy {
   public:
    void Act(const at::Tensor& observations, ActMode mode, RandomStream& random, at::Tensor& recurrent_state,
             at::Tensor& actions, at::Tensor& log_probs) override {
      WeightPolicy::Act(observations, mode, random, recurrent_state, actions, log_probs);
      actions.fill_(std::numeric_limits<float>::infinity());
    }
  };
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000, /*random_steps=*/1000);
  acting_ = Make(std::make_unique<CountingEnvironment>(3, std::vector<int>{}), std::make_unique<DivergedPolicy>(),
                 subscriber_.get());
  const absl::Status status = acting_->Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("action"));
}

// Such an actor used to act on the weights that it had, for ever.
TEST_F(ActingTest, WeightsThatWillNotComeEndTheLoop) {
  Start(/*episode_steps=*/3, {}, /*insert_limit=*/1000, /*random_steps=*/1000);
  const auto refused = std::make_unique<ParameterSubscriber>(server_->address(), MakePeer("another", "actor 0"));
  ASSERT_EQ(refused->WaitFor(1, Soon()).status().code(), absl::StatusCode::kFailedPrecondition);
  acting_ = Make(std::make_unique<CountingEnvironment>(3, std::vector<int>{}), std::make_unique<WeightPolicy>(),
                 refused.get());
  steps_wanted_ = 100;
  EXPECT_EQ(acting_->Run().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ActingTest, RandomStepsNeedNoWeightsAndCarryNoVersion) {
  Start(/*episode_steps=*/100, {}, /*insert_limit=*/1000, /*random_steps=*/5);
  Act(5);
  Publish(-1, 3);
  ASSERT_TRUE(subscriber_->WaitFor(1, Soon()).ok());
  Act(3);
  const std::vector<Transition> transitions = Transitions();
  ASSERT_EQ(transitions.size(), 7);
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(transitions[i].action, i < 5 ? 0.25f : -1.0f) << i;
    EXPECT_EQ(transitions[i].version, i < 5 ? 0 : static_cast<int64_t>(PackPolicyVersion(1, 3))) << i;
  }
}

// Replay takes 10 steps, then nothing until it is told to: the environment stands still, and nothing is lost.
TEST_F(ActingTest, AReplayThatIsFullBlocksTheEnvironmentUntilItGoesOn) {
  Start(/*episode_steps=*/4, {}, /*insert_limit=*/10);
  Publish(0, 1);
  std::thread actor([this] { Act(500); });
  while (shard_.table().State().inserted_steps() < 10 || metrics_.blocked_seconds.Value() == 0) {
    std::this_thread::yield();
  }
  const double blocked_at = metrics_.env_steps.Value();
  EXPECT_GE(blocked_at, 10);
  // What the window and one chunk hold is all that may be ahead.
  EXPECT_LT(blocked_at, 200);
  shard_.table().SetInsertLimit(1000, 0);
  actor.join();
  EXPECT_EQ(metrics_.dropped_steps.Value(), 0);
  // Every step from the first on is there: none was dropped while replay was full.
  int i = 0;
  for (const Transition& transition : Transitions()) {
    EXPECT_EQ(transition.observations[0], static_cast<float>(i / 4)) << i;
    EXPECT_EQ(transition.observations[1], static_cast<float>(i % 4)) << i;
    ++i;
  }
  EXPECT_EQ(i, 500);
}

// The environment stands still until its shard has been away for long; what follows goes to the other one.
TEST_F(ActingTest, NoStepIsLostAlthoughItsShardIsAwayForAWhile) {
  TestShard other{1};
  shards_.push_back(other.address());
  config_.mutable_actor()->set_move_after_seconds(0.01);
  drain_patience_ = std::chrono::seconds(0);
  Start(/*episode_steps=*/50, {}, /*insert_limit=*/1'000'000);
  ASSERT_TRUE(other.shard().CreateTable(MakePeer("run", "learner"), lease_.table()).ok());
  Publish(0, 1);
  Act(20);
  shard_.StopServing();
  Act(500);
  EXPECT_EQ(metrics_.moves.Value(), 1);
  EXPECT_GT(other.table().State().inserted_steps(), 0);
  shard_.Serve();
  const auto end = Soon();
  while (metrics_.moves.Value() == 1 && std::chrono::steady_clock::now() < end) Act(10);
  Act(20);
  ASSERT_TRUE(writers_.back()->Drain(Soon()).ok());
  const v1::TableState here = shard_.table().State(), there = other.table().State();
  EXPECT_EQ(static_cast<double>(here.inserted_steps() + there.inserted_steps()), metrics_.env_steps.Value());
  EXPECT_LE(here.inserted_steps() + there.inserted_steps() - here.inserted_items() - there.inserted_items(), 1)
      << "where an episode is cut it has its last observation, too; the newest step's is still to come";
  EXPECT_EQ(metrics_.moves.Value(), 2);
}

TEST_F(ActingTest, StopEndsALoopThatIsBlocked) {
  Start(/*episode_steps=*/4, {}, /*insert_limit=*/10);
  Publish(0, 1);
  std::thread actor([this] { EXPECT_TRUE(acting_->Run().ok()); });
  while (metrics_.blocked_seconds.Value() == 0) std::this_thread::yield();
  members_.Stop("enough");
  while (!attendance_->stopped()) std::this_thread::yield();  // nothing is handed in to a run that is over
  stop_ = true;
  actor.join();
}

TEST_F(ActingTest, StopEndsALoopThatWaitsForItsFirstWeights) {
  Start(/*episode_steps=*/4, {}, /*insert_limit=*/10);
  std::thread actor([this] { EXPECT_TRUE(acting_->Run().ok()); });
  stop_ = true;
  actor.join();
  EXPECT_EQ(metrics_.env_steps.Value(), 0);
}

// The environment goes on; what replay holds are whole beginnings of episodes.
TEST_F(ActingTest, DropEpisodeGoesOnWithoutReplayAndCountsWhatIsDropped) {
  config_.mutable_actor()->set_on_backpressure(v1::DROP_EPISODE);
  drain_patience_ = std::chrono::seconds(0);
  Start(/*episode_steps=*/50, {}, /*insert_limit=*/10);
  Publish(0, 1);
  Act(2000);
  EXPECT_EQ(metrics_.env_steps.Value(), 2000);
  const double dropped = metrics_.dropped_steps.Value();
  EXPECT_GT(dropped, 1000);
  EXPECT_GT(metrics_.dropped_episodes.Value(), 1000 / 50);
  EXPECT_EQ(Episodes(40).size(), 40);  // they are reported all the same
  // Let in what was waiting, and some more.
  shard_.table().SetInsertLimit(100000, 0);
  Act(500);
  ASSERT_TRUE(writers_.back()->Drain(Soon()).ok());
  const v1::TableState state = shard_.table().State();
  EXPECT_EQ(static_cast<double>(state.inserted_steps()) + metrics_.dropped_steps.Value(), metrics_.env_steps.Value());
  float episode = -1, next = 0;
  for (const Transition& transition : Transitions()) {
    EXPECT_EQ(transition.observations[0], transition.observations[2]);
    EXPECT_EQ(transition.observations[1] + 1, transition.observations[3]);
    if (transition.observations[0] != episode) {
      EXPECT_GT(transition.observations[0], episode);
      episode = transition.observations[0];
      next = 0;
    }
    EXPECT_EQ(transition.observations[1], next++) << "of episode " << episode;
  }
}

}  // namespace
}  // namespace headrace
