// Expected numbers are worked out by hand.
#include "tools/estimate.h"

#include <string>
#include <vector>

#include "actor/env/registry.h"
#include "actor/environment_spec.h"
#include "algorithm/registry.h"
#include "common/config.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr char kPendulum[] =
    "topology: REPLAY environment { name: \"Pendulum-v1\" } actor { processes: 2 } "
    "replay { shards: 2 capacity: 100000 budget_bytes: 67108864 } "
    "learner { prefetch: 4 publish_interval_seconds: 0.02 } evaluation { processes: 1 } "
    "checkpoint { keep: 2 replay: true } sac { hidden: 64 hidden: 64 batch_size: 128 }";

constexpr char kBreakout[] =
    "topology: QUEUE environment { name: \"MinAtar/Breakout-v1\" } actor { processes: 2 environments: 8 } "
    "replay { shards: 1 budget_bytes: 268435456 queue_batches: 1 } "
    "learner { prefetch: 1 publish_interval_seconds: 0.02 } evaluation { processes: 1 } "
    "checkpoint { keep: 4 replay: true } "
    "actor_critic { unroll_length: 20 batch_size: 16 network { torso: MINATAR } }";

Estimate EstimateOf(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const v1::RunConfig config = *ParseRunConfig(text, "run.textproto", overrides);
  const v1::EnvironmentSpec environment =
      MakeEnvironmentSpec(*FindEnvironment(config.environment().name()), config.environment());
  const absl::StatusOr<Estimate> estimate = EstimateRun(config, environment, *MakeExperience(config, environment));
  EXPECT_TRUE(estimate.ok()) << estimate.status();
  return *estimate;
}

// Observation 3 floats, action, reward, terminated, policy version: 12 + 4 + 4 + 1 + 8 = 29 bytes a step; in memory
// with a link of 4, rounded up to 36. An item is one row more, and 32 bytes of books: 68.
constexpr uint64_t kPendulumReplay = 100'000 * 68;
// The policy, 3-64-64-2: 3 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2 = 4546 floats.
constexpr uint64_t kPendulumPolicy = 4 * 4546;
// With it two critics and their targets, 4-64-64-1: 4 * 64 + 64 + 64 * 64 + 64 + 64 + 1 = 4545 floats each, a
// temperature, and 5056 bytes of LibTorch's random generator.
constexpr uint64_t kPendulumState = kPendulumPolicy + 4 * (4 * 4545 + 1) + 5056;
// Two moments of all that is trained, and for each of the three groups how many steps it took. Each weight and bias is
// padded to 16 floats, so the output's biases, 2 of the policy and 1 of each critic, are 16: 4560 of the policy, 9104
// of the critics.
constexpr uint64_t kPendulumOptimizer = 4 * (2 * (4560 + 9104 + 1) + 3);
// 128 transitions of two observations and one of all else.
constexpr uint64_t kPendulumBatch = 128 * (2 * 12 + 4 + 4 + 1 + 8);

TEST(EstimateTest, OfSmallStatesInReplay) {
  const Estimate estimate = EstimateOf(kPendulum);
  ASSERT_TRUE(estimate.replay.has_value());
  EXPECT_EQ(estimate.replay->row_bytes, 36);
  EXPECT_EQ(estimate.replay->capacity, 100'000);
  EXPECT_EQ(estimate.replay->capacity_bytes, 6'800'000);
  EXPECT_EQ(estimate.replay->fitting, 986'895);  // 67108864 / 68
  EXPECT_EQ(estimate.replay->memory_bytes, 2 * kReplayProcessBytes + kPendulumReplay);
  EXPECT_EQ(estimate.replay->insert_bytes_per_step, 29);
  EXPECT_EQ(estimate.replay->sample_bytes_per_update, kPendulumBatch);

  // Four batches are fetched ahead of the one in use.
  const uint64_t learner = kTorchProcessBytes + kPendulumState + kPendulumOptimizer + 5 * kPendulumBatch;
  EXPECT_EQ(estimate.learner.algorithm_bytes, kPendulumState);
  EXPECT_EQ(estimate.learner.optimizer_bytes, kPendulumOptimizer);
  EXPECT_EQ(estimate.learner.prefetched_batch_bytes, 5 * kPendulumBatch);
  EXPECT_EQ(estimate.learner.memory_bytes, learner);

  EXPECT_EQ(estimate.actors.processes, 3);  // two actors, one evaluator
  EXPECT_EQ(estimate.actors.memory_bytes_each, kTorchProcessBytes + kPendulumPolicy);

  // Every 0.02 seconds to each of two actors.
  EXPECT_EQ(estimate.network.weights_bytes_per_version, kPendulumPolicy);
  EXPECT_DOUBLE_EQ(estimate.network.weights_bytes_per_second_at_most, 2 * 50 * kPendulumPolicy);
  EXPECT_EQ(estimate.network.push_bytes_per_update, 0);

  // Two are kept while a third is written, and the best policy beside them.
  const uint64_t checkpoint = kPendulumPolicy + kPendulumState + kPendulumOptimizer + kPendulumReplay;
  EXPECT_EQ(estimate.disk.checkpoint_bytes, checkpoint);
  EXPECT_EQ(estimate.disk.checkpoints_kept, 2);
  EXPECT_EQ(estimate.disk.journal_bytes, 0);
  EXPECT_EQ(estimate.disk_bytes, kProgramBytes + 3 * checkpoint + kPendulumPolicy);

  EXPECT_EQ(estimate.memory_bytes, kSharedLibraryBytes + 2 * kReplayProcessBytes + kPendulumReplay + learner +
                                       3 * (kTorchProcessBytes + kPendulumPolicy));
}

TEST(EstimateTest, ReplayTakesNoMoreThanItsBudget) {
  const Estimate estimate = EstimateOf(kPendulum, {"replay.budget_bytes=1048576", "replay.journal=true"});
  ASSERT_TRUE(estimate.replay.has_value());
  EXPECT_EQ(estimate.replay->capacity_bytes, 6'800'000);
  EXPECT_EQ(estimate.replay->fitting, 15'420);  // 1048576 / 68
  EXPECT_EQ(estimate.replay->memory_bytes, 2 * kReplayProcessBytes + 1'048'576);
  const uint64_t checkpoint = kPendulumPolicy + kPendulumState + kPendulumOptimizer + 1'048'576;
  EXPECT_EQ(estimate.disk.checkpoint_bytes, checkpoint);
  EXPECT_EQ(estimate.disk.journal_bytes, 1'048'576);
  EXPECT_EQ(estimate.disk_bytes, kProgramBytes + 3 * checkpoint + kPendulumPolicy + 1'048'576);
}

TEST(EstimateTest, WithoutReplayCheckpointsHoldNetworksAlone) {
  const Estimate estimate = EstimateOf(kPendulum, {"checkpoint.replay=false"});
  EXPECT_EQ(estimate.disk.checkpoint_bytes, kPendulumPolicy + kPendulumState + kPendulumOptimizer);
}

TEST(EstimateTest, CentralInferenceSendsNoWeights) {
  EXPECT_EQ(EstimateOf(kPendulum, {"topology=CENTRAL_INFERENCE"}).network.weights_bytes_per_second_at_most, 0);
}

// Images of 4 x 10 x 10 bytes, action, reward, terminated, observation only, log-probability, policy version:
// 400 + 4 + 4 + 1 + 1 + 4 + 8 bytes a step.
constexpr uint64_t kBreakoutStep = 422;
// 16 filters of 3 x 3 on 4 planes, 16 x 8 x 8 values to 128, those to 3 actions:
// 16 * 4 * 9 + 16 + 1024 * 128 + 128 + 128 * 3 + 3 = 132179 floats, and 128 + 1 for the value.
constexpr uint64_t kBreakoutPolicy = 4 * 132'179;
constexpr uint64_t kBreakoutState = kBreakoutPolicy + 4 * 129;
constexpr uint64_t kBreakoutOptimizer = 2 * kBreakoutState + 4;

TEST(EstimateTest, OfUnrollsOfImagesInAQueue) {
  const Estimate estimate = EstimateOf(kBreakout);
  ASSERT_TRUE(estimate.replay.has_value());
  EXPECT_EQ(estimate.replay->row_bytes, 428);  // 4 + 422, rounded up
  EXPECT_EQ(estimate.replay->capacity, 16);    // one batch
  // The 21st row of an unroll is the first of the next.
  const uint64_t replay = 16 * (20 * 428 + 24);
  EXPECT_EQ(estimate.replay->capacity_bytes, replay);
  EXPECT_EQ(estimate.replay->memory_bytes, kReplayProcessBytes + replay);
  EXPECT_EQ(estimate.replay->insert_bytes_per_step, kBreakoutStep);
  EXPECT_EQ(estimate.replay->sample_bytes_per_update, 16 * 21 * kBreakoutStep);

  const uint64_t prefetched = 2 * 16 * 21 * kBreakoutStep;
  EXPECT_EQ(estimate.learner.algorithm_bytes, kBreakoutState);
  EXPECT_EQ(estimate.learner.optimizer_bytes, kBreakoutOptimizer);
  EXPECT_EQ(estimate.learner.prefetched_batch_bytes, prefetched);
  EXPECT_EQ(estimate.learner.memory_bytes, kTorchProcessBytes + kBreakoutState + kBreakoutOptimizer + prefetched);
  EXPECT_EQ(estimate.actors.memory_bytes_each, kTorchProcessBytes + kBreakoutPolicy);
  EXPECT_EQ(estimate.disk_bytes,
            kProgramBytes + 5 * (kBreakoutPolicy + kBreakoutState + kBreakoutOptimizer + replay) + kBreakoutPolicy);
}

TEST(EstimateTest, GradientsTravelInsteadOfExperience) {
  const Estimate estimate = EstimateOf(kBreakout, {"topology=ASYNCHRONOUS_GRADIENTS"});
  EXPECT_FALSE(estimate.replay.has_value());
  EXPECT_EQ(estimate.learner.prefetched_batch_bytes, 0);
  EXPECT_EQ(estimate.learner.memory_bytes, kTorchProcessBytes + kBreakoutState + kBreakoutOptimizer);
  // A batch is a round of each of the actor's 8 environments: 20 steps, an end after each of them, one row more.
  const uint64_t actor = kTorchProcessBytes + kBreakoutPolicy + kBreakoutState + 8 * 41 * kBreakoutStep;
  EXPECT_EQ(estimate.actors.memory_bytes_each, actor);
  EXPECT_EQ(estimate.network.weights_bytes_per_second_at_most, 0);
  EXPECT_EQ(estimate.network.push_bytes_per_update, kBreakoutState + kBreakoutPolicy);
  EXPECT_EQ(estimate.disk.checkpoint_bytes, kBreakoutPolicy + kBreakoutState + kBreakoutOptimizer);
  EXPECT_EQ(estimate.memory_bytes, kSharedLibraryBytes + estimate.learner.memory_bytes + 3 * actor);
}

}  // namespace
}  // namespace headrace
