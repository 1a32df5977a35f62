// An actor that learns by itself, over a real connection to the learner's half.
#include "actor/actor_learner.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ATen/ops/equal.h"
#include "ATen/ops/zeros.h"
#include "actor/row_recorder.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/registry.h"
#include "common/config.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "gtest/gtest.h"
#include "learner/pushed_updates.h"
#include "replay/row_layout.h"

namespace headrace {
namespace {

constexpr int kLanes = 2, kSteps = 3, kObservation = 4;

v1::RunConfig Config() {
  return *ParseRunConfig(
      "environment { name: \"CartPole-v1\" } topology: ASYNCHRONOUS_GRADIENTS "
      "actor_critic { unroll_length: 3 network { hidden: 8 } correction: NO_CORRECTION "
      "optimizer { kind: RMSPROP learning_rate: 0.01 } }",
      "test", {"actor.environments=2", "seed=3"});
}

v1::EnvironmentSpec Environment() {
  v1::EnvironmentSpec environment;
  environment.set_name("CartPole-v1");
  environment.mutable_observation()->set_data_type(v1::FLOAT32);
  environment.mutable_observation()->add_shape(kObservation);
  environment.set_discrete_actions(2);
  return environment;
}

class ActorLearnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    experience_ = *MakeExperience(Config(), Environment());
    const std::vector<ParameterGroup> groups = algorithm_->ParameterGroups();
    optimizers_.emplace_back(groups);
    updates_ = *PushedUpdates::Start({}, 0, PackPolicyVersion(1, 0), groups, algorithm_.get(), &optimizers_, &service_);
    learner_ = std::thread([this] { Learn(); });
    v1::PushOpen open;
    *open.mutable_peer() = MakePeer("run", "actor 0");
    open.set_pusher(7);
    client_ = std::make_unique<GradientClient>(server_->address(), open, [this] { return stop_.load(); });
    actor_ = *ActorLearner::Create(
        experience_, *MakeAlgorithm(Config(), Environment()), *MakePolicy(Config(), Environment()),
        RandomStream(1, StreamRole::kActor, 0, StreamPurpose::kExploration), client_.get(), &metrics_);
    recorder_ = *RowRecorder::Create(experience_.signature, BytesOf(experience_.signature.columns(0)));
  }
  void TearDown() override {
    stop_ = true;
    learner_.join();
  }

  void Learn() {
    while (!stop_) {
      const UpdateSource::Moment moment = {.version = PackPolicyVersion(1, updates_done_)};
      const absl::StatusOr<UpdateSource::Arrival> arrival =
          updates_->Next(moment, std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
      if (!arrival.ok() || !arrival->usable) continue;
      ASSERT_TRUE(updates_->Update(moment).ok());
      ++updates_done_;
    }
  }

  // A round: each lane's rows with numbers that depend on where they are; lane 0's episode ends after its second step.
  void AppendRound(int round) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      for (int step = 0; step < kSteps; ++step) {
        AppendStep(lane, round, step);
        if (lane == 0 && step == 1) actor_->Append(lane, Final(lane, round, step), v1::TERMINATED);
      }
      actor_->Append(lane, Final(lane, round, kSteps), v1::CUT);
    }
  }

  void AppendStep(uint32_t lane, int round, int step) {
    SetObservation(lane, round, step);
    const int32_t action = (step + round) % 2;
    actor_->Append(lane,
                   recorder_->Row({.observation = reinterpret_cast<const std::byte*>(observation_),
                                   .action = reinterpret_cast<const std::byte*>(&action),
                                   .reward = static_cast<float>(step + 1),
                                   .terminated = lane == 0 && step == 1,
                                   .truncated = false,
                                   .behaviour_log_prob = -0.7f,
                                   .policy_version = 1}),
                   v1::NOT_ENDED);
  }
  std::span<const std::byte* const> Final(uint32_t lane, int round, int step) {
    SetObservation(lane, round, step + 10);
    return recorder_->ObservationRow(reinterpret_cast<const std::byte*>(observation_));
  }
  void SetObservation(uint32_t lane, int round, int step) {
    for (int i = 0; i < kObservation; ++i) {
      observation_[i] = 0.1f * static_cast<float>(i + 1) - 0.05f * static_cast<float>(step + round) + 0.3f * lane;
    }
  }

  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> updates_done_ = 0;
  Experience experience_;
  std::unique_ptr<Algorithm> algorithm_ = *MakeAlgorithm(Config(), Environment());  // the learner's
  std::vector<LocalOptimizer> optimizers_;
  MetricRegistry registry_{"learner"};
  GradientService service_{[] {
                             v1::LearnerIdentity identity;
                             identity.set_run_id("run");
                             return identity;
                           }(),
                           registry_};
  std::unique_ptr<GrpcServer> server_ = *GrpcServer::Start("127.0.0.1:0", {&service_});
  std::unique_ptr<PushedUpdates> updates_;
  std::thread learner_;
  MetricRegistry actor_registry_{"actor"};
  ActorMetrics metrics_{actor_registry_};
  std::unique_ptr<GradientClient> client_;
  std::unique_ptr<ActorLearner> actor_;
  std::unique_ptr<RowRecorder> recorder_;
  float observation_[kObservation] = {};
};

TEST_F(ActorLearnerTest, OneActorsPushesGiveWhatALearnersOwnUpdatesWould) {
  const std::unique_ptr<Algorithm> alone = *MakeAlgorithm(Config(), Environment());
  LocalOptimizer optimizer(alone->ParameterGroups());
  at::Tensor actions = at::zeros({kLanes}, at::kInt), log_probs, state;
  const at::Tensor observations = at::zeros({kLanes, kObservation});
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(actor_->Act(observations, ActMode::kExplore, state, actions, log_probs).ok());
    AppendRound(round);
    ASSERT_TRUE(actor_->Drain({}).ok());

    // The same rows as a batch, put together by hand: lane 0 has five rows, lane 1 four and one more that repeats the
    // last.
    constexpr int64_t kRows = 5;
    Batch batch;
    batch.slices = {
        at::zeros({kLanes, kRows, kObservation}), at::zeros({kLanes, kRows}, at::kInt),  at::zeros({kLanes, kRows}),
        at::zeros({kLanes, kRows}, at::kByte),    at::zeros({kLanes, kRows}, at::kByte), at::zeros({kLanes, kRows}),
        at::zeros({kLanes, kRows}, at::kLong)};
    const std::vector<std::vector<int>> steps = {{0, 1, 11, 2, 13}, {0, 1, 2, 13, 13}};
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      for (int64_t row = 0; row < kRows; ++row) {
        const int step = steps[lane][row];
        SetObservation(lane, round, step);
        std::memcpy(batch.slices[0][lane][row].data_ptr(), observation_, sizeof(observation_));
        const bool is_step = step < 10;
        batch.slices[4][lane][row].fill_(!is_step);
        if (!is_step) continue;
        batch.slices[1][lane][row].fill_((step + round) % 2);
        batch.slices[2][lane][row].fill_(step + 1);
        batch.slices[3][lane][row].fill_(lane == 0 && step == 1);
        batch.slices[5][lane][row].fill_(-0.7);
      }
    }
    alone->Update(batch, optimizer);
    const std::vector<NamedTensor> expected = alone->StateTensors(), actual = algorithm_->StateTensors();
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(at::equal(expected[i].tensor, actual[i].tensor)) << expected[i].name << ", round " << round;
    }
  }
  EXPECT_EQ(updates_->env_steps(), 5 * kLanes * kSteps);
  EXPECT_EQ(actor_->policy_version(), PackPolicyVersion(1, 5));
}

TEST_F(ActorLearnerTest, ActsWithTheWeightsThatTheAnswerBrought) {
  at::Tensor actions = at::zeros({kLanes}, at::kInt), log_probs, state;
  const at::Tensor observations = at::zeros({kLanes, kObservation});
  EXPECT_EQ(*actor_->Act(observations, ActMode::kExplore, state, actions, log_probs), PackPolicyVersion(1, 0));
  AppendRound(0);
  ASSERT_TRUE(actor_->Drain({}).ok());
  EXPECT_EQ(*actor_->Act(observations, ActMode::kExplore, state, actions, log_probs), PackPolicyVersion(1, 1));
}

TEST_F(ActorLearnerTest, ARoundThatIsNotWholeIsNotLearnedFrom) {
  AppendStep(0, 0, 0);
  EXPECT_TRUE(actor_->Drain({}).ok());
  EXPECT_EQ(updates_->env_steps(), 0);
}

TEST_F(ActorLearnerTest, AWaitForALearnerThatIsGoneEndsWhenTheActorIsToStop) {
  AppendRound(0);
  ASSERT_TRUE(actor_->Drain({}).ok());
  server_.reset();
  AppendRound(1);
  std::thread stopper([this] { stop_ = true; });
  EXPECT_TRUE(absl::IsCancelled(actor_->Drain({})));
  stopper.join();
}

}  // namespace
}  // namespace headrace
