#include "algorithm/actor_critic.h"

#include <cmath>
#include <numbers>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/full.h"
#include "ATen/ops/isfinite.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/match.h"
#include "algorithm/actor_critic_actor.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr int64_t kLanes = 3, kRows = 6, kObservation = 4, kActions = 3;

std::unique_ptr<ActorCriticModel> NewModel(bool continuous = false, bool shared = true) {
  ActorCriticSpec spec = {.network = {}, .observation = {kObservation}, .actions = kActions, .continuous = continuous};
  spec.network.add_hidden(8);
  spec.network.set_shared(shared);
  std::unique_ptr<ActorCriticModel> model = *ActorCriticModel::Create(spec, true, false, at::kCPU);
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  model->network().Initialize(random);
  return model;
}

// An episode ends in lane 0 after its second step, in a terminal state.
Batch RandomUnrolls(bool continuous = false) {
  Batch batch;
  at::Tensor terminated = at::zeros({kLanes, kRows}, at::kByte);
  at::Tensor observation_only = at::zeros({kLanes, kRows}, at::kByte);
  terminated[0][1] = 1;
  observation_only[0][2] = 1;
  batch.slices = {
      at::randn({kLanes, kRows, kObservation}),
      continuous ? at::randn({kLanes, kRows, kActions}) : at::randint(kActions, {kLanes, kRows}, at::kInt),
      at::randn({kLanes, kRows}), terminated, observation_only,
      // About what the first policy gives: uniform, or a standard normal distribution.
      at::randn({kLanes, kRows}) * 0.3 - (continuous ? 1.5 * std::log(2 * std::numbers::pi) + 1.5 : std::log(3.0)),
      at::zeros({kLanes, kRows}, at::kLong)};
  return batch;
}

class Gradients : public GradientSink {
 public:
  void Apply(size_t, const std::vector<at::Tensor>& gradients) override { last = gradients.front().clone(); }
  at::Tensor last;
};

// The loss of the paper, step by step: section 4.2 with the targets of equation 1, all as plain numbers but for what is
// differentiated.
at::Tensor ReferenceLoss(const ActorCriticNetwork& network, std::span<const at::Tensor> parameters, const Batch& batch,
                         v1::OffPolicyCorrection method) {
  const bool corrected = method == v1::V_TRACE;
  at::Tensor loss = at::zeros({});
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const ActorCriticNetwork::Output output =
        network.Forward(parameters, batch.slices[UnrollSlice::kObservation][lane]);
    const ActionLikelihood likelihood = output.Likelihood(batch.slices[UnrollSlice::kAction][lane]);
    double next_correction = 0;  // v_{t+1} - V_{t+1}
    for (int64_t t = kRows - 2; t >= 0; --t) {
      if (batch.slices[UnrollSlice::kObservationOnly][lane][t].item<int>() == 1) {
        next_correction = 0;
        continue;
      }
      const at::Tensor log_pi = likelihood.log_prob[t];
      const double rho =
          corrected ? std::exp(log_pi.item<double>() - batch.slices[UnrollSlice::kLogProb][lane][t].item<double>()) : 1;
      const double discount = batch.slices[UnrollSlice::kTerminated][lane][t].item<int>() == 1 ? 0 : 0.99;
      const double reward = batch.slices[UnrollSlice::kReward][lane][t].item<double>();
      const double value = output.value[t].item<double>(), next_value = output.value[t + 1].item<double>();
      const double delta = std::min(1.0, rho) * (reward + discount * next_value - value);
      const double correction = delta + discount * std::min(1.0, rho) * next_correction;
      const double advantage = std::min(1.0, rho) * (reward + discount * (next_value + next_correction) - value);
      loss = loss - (method == v1::EPSILON ? (log_pi.exp() + 1e-6).log() : log_pi) * advantage +
             0.5 * 0.5 * (value + correction - output.value[t]).square();
      loss = loss - 0.01 * likelihood.entropy[t];
      next_correction = correction;
    }
  }
  return loss;
}

TEST(ActorCriticTest, GradientsAreThoseOfThePapersLoss) {
  for (int variant = 0; variant < 12; ++variant) {
    SCOPED_TRACE(variant);
    const auto correction = static_cast<v1::OffPolicyCorrection>(variant / 4);
    const bool continuous = variant & 1, shared = variant & 2;
    v1::ActorCriticOptions options;
    options.set_reduction(v1::SUM);
    options.set_correction(correction);
    std::unique_ptr<ActorCriticModel> model = NewModel(continuous, shared);
    const ActorCriticNetwork& network = model->network();
    ActorCritic algorithm(options, std::move(model));
    const Batch batch = RandomUnrolls(continuous);
    Gradients gradients;
    algorithm.Update(batch, gradients);
    const FlatParameters::Recorded recorded = network.parameters().Record();
    const at::Tensor expected = recorded.Gradient(ReferenceLoss(network, recorded.views, batch, correction));
    EXPECT_LT((gradients.last - expected).norm().item<double>(), 1e-6 * expected.norm().item<double>());
  }
}

// Densities of e^100 used to be infinite in float32, and the correction no number.
TEST(ActorCriticTest, ADensityThatIsMoreThanAFloatHoldsIsCorrectedByEpsilonLikeAnyOther) {
  std::unique_ptr<ActorCriticModel> model = NewModel(/*continuous=*/true);
  for (const NamedTensor& named : model->network().PolicyTensors("")) {
    named.tensor.fill_(absl::StrContains(named.name, "log_std") ? -35 : 0);
  }
  const Batch batch = RandomUnrolls(/*continuous=*/true);
  batch.slices[UnrollSlice::kAction].zero_();  // the means
  v1::ActorCriticOptions options;
  options.set_correction(v1::EPSILON);
  ActorCritic algorithm(options, std::move(model));
  Gradients gradients;
  algorithm.Update(batch, gradients);
  EXPECT_TRUE(at::isfinite(gradients.last).all().item<bool>());
  EXPECT_TRUE(at::isfinite(algorithm.Metrics()).all().item<bool>()) << algorithm.Metrics();
}

TEST(ActorCriticTest, MeansAreSumsDividedByTheNumberOfSteps) {
  const Batch batch = RandomUnrolls();
  Gradients sum, mean;
  v1::ActorCriticOptions options;
  options.set_reduction(v1::SUM);
  ActorCritic(options, NewModel()).Update(batch, sum);
  options.set_reduction(v1::MEAN);
  ActorCritic(options, NewModel()).Update(batch, mean);
  // Of 3 times 6 rows, 3 are last ones and one is an episode's final observation.
  EXPECT_TRUE(at::allclose(sum.last / 14, mean.last, 1e-4, 1e-7));
}

TEST(ActorCriticTest, RewardsAreScaledThenClipped) {
  Batch batch = RandomUnrolls();
  Gradients expected, actual;
  v1::ActorCriticOptions options;
  Batch clipped = batch;
  clipped.slices[UnrollSlice::kReward] = (batch.slices[UnrollSlice::kReward] * 3).clamp(-1, 1);
  ActorCritic(options, NewModel()).Update(clipped, expected);
  options.set_reward_scale(3);
  options.set_reward_clip(1);
  ActorCritic(options, NewModel()).Update(batch, actual);
  EXPECT_TRUE(at::allclose(expected.last, actual.last));
}

// An episode of lane 1 ends with row 3; row 4 is its final observation.
class RecurrentActorCriticTest : public testing::Test {
 protected:
  static constexpr int64_t kUnits = 5, kUnrolled = 9;

  static ActorCriticSpec Spec() {
    ActorCriticSpec spec = {.observation = {kObservation}, .actions = kActions};
    spec.network.add_hidden(8);
    spec.network.set_lstm(kUnits);
    return spec;
  }
  static std::unique_ptr<ActorCriticModel> Model() {
    std::unique_ptr<ActorCriticModel> model = *ActorCriticModel::Create(Spec(), true, false, at::kCPU);
    RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
    model->network().Initialize(random);
    return model;
  }

  RecurrentActorCriticTest() {
    terminated_[1][3] = 1;
    observation_only_[1][4] = 1;
    const std::unique_ptr<Policy> policy = *ActorCriticActor::Create(Spec(), false);
    const std::vector<NamedTensor> learned = model_->PolicyTensors(), tensors = policy->Tensors();
    for (size_t i = 0; i < tensors.size(); ++i) at::Tensor(tensors[i].tensor).copy_(learned[i].tensor);
    RandomStream random(2, StreamRole::kTest, 0, StreamPurpose::kExploration);
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      at::Tensor state = at::zeros({1, 2 * kUnits}), action, log_prob;
      for (int64_t t = 0; t < kUnrolled; ++t) {
        if (observation_only_[lane][t].item<int>() == 1) {
          state.zero_();
          continue;
        }
        states_[lane][t].copy_(state[0]);
        policy->Act(observations_[lane].narrow(0, t, 1), ActMode::kExplore, random, state, action, log_prob);
        actions_[lane][t].copy_(action[0]);
        log_probs_[lane][t].copy_(log_prob[0]);
      }
    }
  }

  // The unroll that begins with row `first`, after `burn_in` others.
  Batch Unroll(int64_t first, int64_t burn_in) const {
    const auto rows = [&](const at::Tensor& tensor) { return tensor.narrow(1, first, kUnrolled - first).contiguous(); };
    Batch batch;
    batch.slices = {rows(observations_),
                    rows(actions_),
                    rows(rewards_),
                    rows(terminated_),
                    rows(observation_only_),
                    rows(log_probs_),
                    rows(at::zeros({kLanes, kUnrolled}, at::kLong)),
                    states_.narrow(1, first - burn_in, 1)};
    if (burn_in > 0) {
      batch.slices.push_back(observations_.narrow(1, first - burn_in, burn_in).contiguous());
      batch.slices.push_back(observation_only_.narrow(1, first - burn_in, burn_in).contiguous());
    }
    return batch;
  }

  at::Tensor Gradient(const Batch& batch, uint32_t burn_in) const {
    v1::ActorCriticOptions options;
    *options.mutable_network() = Spec().network;
    options.set_burn_in(burn_in);
    Gradients gradients;
    ActorCritic(options, Model()).Update(batch, gradients);
    return gradients.last;
  }

  const std::unique_ptr<ActorCriticModel> model_ = Model();
  at::Tensor observations_ = at::randn({kLanes, kUnrolled, kObservation});
  at::Tensor actions_ = at::zeros({kLanes, kUnrolled}, at::kInt);
  at::Tensor rewards_ = at::randn({kLanes, kUnrolled});
  at::Tensor terminated_ = at::zeros({kLanes, kUnrolled}, at::kByte);
  at::Tensor observation_only_ = at::zeros({kLanes, kUnrolled}, at::kByte);
  at::Tensor log_probs_ = at::zeros({kLanes, kUnrolled});
  at::Tensor states_ = at::zeros({kLanes, kUnrolled, 2 * kUnits});
};

TEST_F(RecurrentActorCriticTest, TheUnrollGivesTheProbabilitiesThatActingStepByStepGave) {
  for (const int64_t first : {0, 2, 4}) {  // 4: lane 1 begins with its final observation
    const Batch batch = Unroll(first, 0);
    const ActorCriticNetwork::Output output = model_->network().Forward(
        batch.slices[UnrollSlice::kObservation].flatten(0, 1), batch.slices[UnrollSlice::kRecurrentState].select(1, 0),
        batch.slices[UnrollSlice::kObservationOnly].to(at::kFloat));
    const at::Tensor is_step = 1 - batch.slices[UnrollSlice::kObservationOnly].to(at::kFloat);
    const at::Tensor log_probs =
        output.Likelihood(batch.slices[UnrollSlice::kAction].flatten()).log_prob.view(is_step.sizes()) * is_step;
    EXPECT_TRUE(at::allclose(log_probs, batch.slices[UnrollSlice::kLogProb], 1e-6, 1e-6))
        << first << ": " << log_probs - batch.slices[UnrollSlice::kLogProb];
  }
}

TEST_F(RecurrentActorCriticTest, BurnInBringsAnOldStateToWhereTheUnrollBegins) {
  const at::Tensor expected = Gradient(Unroll(6, 0), 0);
  for (const int64_t burn_in : {1, 2, 3, 6}) {  // rows 5; 4 and 5; ...: lane 1's episode ends within
    const at::Tensor gradient = Gradient(Unroll(6, burn_in), static_cast<uint32_t>(burn_in));
    EXPECT_TRUE(at::allclose(gradient, expected, 1e-5, 1e-6)) << burn_in << (gradient - expected).abs().max();
  }
  Batch wrong = Unroll(6, 3);
  wrong.slices[UnrollSlice::kBurnInObservation] = at::randn({kLanes, 3, kObservation});
  EXPECT_FALSE(at::allclose(Gradient(wrong, 3), expected, 1e-3, 1e-4));
}

}  // namespace
}  // namespace headrace
