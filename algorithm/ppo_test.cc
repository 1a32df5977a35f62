#include "algorithm/ppo.h"

#include "ATen/TensorOperators.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/target/v_trace.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr int64_t kLanes = 4, kSteps = 5, kRows = 2 * kSteps + 1, kObservation = 3, kActions = 2;

ActorCriticSpec Spec() {
  ActorCriticSpec spec = {.observation = {kObservation}, .actions = kActions};
  spec.network.add_hidden(16);
  return spec;
}

std::unique_ptr<ActorCriticModel> NewModel() {
  std::unique_ptr<ActorCriticModel> model = *ActorCriticModel::Create(Spec(), true, false, at::kCPU);
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  model->network().Initialize(random);
  return model;
}

// A2C's settings in Stable-Baselines3.
v1::PpoOptions AdvantageActorCritic() {
  v1::PpoOptions options;
  options.set_epochs(1);
  options.set_minibatches(1);
  options.set_lambda(1);
  options.set_normalize_advantages(false);
  options.set_entropy_coefficient(0.01);
  options.mutable_optimizer()->set_kind(v1::RMSPROP);
  options.mutable_optimizer()->set_learning_rate(7e-4);
  options.mutable_optimizer()->set_epsilon(1e-5);
  options.mutable_optimizer()->set_max_gradient_norm(0.5);
  return options;
}

// Rounds of kSteps steps; lane i's episode ends after step i, in a terminal state where i is even. Each lane has
// kSteps + 2 rows; the rest repeats the last.
Batch RandomRound() {
  Batch batch;
  at::Tensor terminated = at::zeros({kLanes, kRows}, at::kByte);
  at::Tensor observation_only = at::zeros({kLanes, kRows}, at::kByte);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    terminated[lane][lane] = lane % 2 == 0;
    observation_only[lane][lane + 1] = 1;
    observation_only[lane].narrow(0, kSteps + 1, kRows - kSteps - 1).fill_(1);
  }
  batch.slices = {at::randn({kLanes, kRows, kObservation}),
                  at::randint(kActions, {kLanes, kRows}, at::kInt),
                  at::randn({kLanes, kRows}),
                  terminated,
                  observation_only,
                  at::zeros({kLanes, kRows}),
                  at::zeros({kLanes, kRows}, at::kLong)};
  return batch;
}

at::Tensor StepIndices(const Batch& batch) {
  return batch.slices[UnrollSlice::kObservationOnly].eq(0).flatten().nonzero().squeeze(1);
}

// What the actors would have recorded, had they acted with the parameters as they are.
void RecordLogProbs(ActorCriticNetwork& network, Batch& batch) {
  const at::NoGradGuard no_autograd;
  const at::Tensor steps = StepIndices(batch);
  const at::Tensor log_prob =
      network.Forward(batch.slices[UnrollSlice::kObservation].flatten(0, 1).index_select(0, steps))
          .Likelihood(batch.slices[UnrollSlice::kAction].flatten().index_select(0, steps))
          .log_prob;
  batch.slices[UnrollSlice::kLogProb].view({-1}).index_copy_(0, steps, log_prob);
}

// Advantage actor-critic as it is usually written, with RMSProp: Mnih et al., arXiv:1602.01783, in one round.
class A2c {
 public:
  explicit A2c(ActorCriticNetwork* network)
      : network_(network), square_(at::zeros_like(network->parameters().flat())) {}

  void Update(const Batch& batch) {
    const UnrollTensors unroll = MakeUnrollTensors(batch, 0.99, 1, 0);
    const at::Tensor observations = batch.slices[UnrollSlice::kObservation].flatten(0, 1);
    const at::Tensor value = network_->Forward(observations).value.view({kLanes, kRows});
    const VTraceTarget target =
        MakeGeneralizedAdvantage({unroll.reward, unroll.discount, unroll.is_step, value, {}}, 1);
    const at::Tensor steps = StepIndices(batch);
    const at::Tensor advantage = target.advantage.flatten().index_select(0, steps);
    const at::Tensor returns = target.value.flatten().index_select(0, steps);
    const FlatParameters::Recorded recorded = network_->parameters().Record();
    const ActorCriticNetwork::Output output = network_->Forward(recorded.views, observations.index_select(0, steps));
    const ActionLikelihood likelihood =
        output.Likelihood(batch.slices[UnrollSlice::kAction].flatten().index_select(0, steps));
    const at::Tensor loss = -(advantage * likelihood.log_prob).mean() + 0.5 * (output.value - returns).square().mean() -
                            0.01 * likelihood.entropy.mean();
    at::Tensor gradient = recorded.Gradient(loss);
    gradient = gradient * (0.5 / (gradient.norm() + 1e-6)).clamp_max(1);
    square_.mul_(0.99).addcmul_(gradient, gradient, 1 - 0.99);
    at::Tensor flat = network_->parameters().flat();
    flat.addcdiv_(gradient, square_.sqrt().add_(1e-5), -7e-4);
  }

 private:
  ActorCriticNetwork* const network_;
  at::Tensor square_;
};

TEST(PpoTest, WithOneEpochAndOneMinibatchItIsAdvantageActorCriticToTheBit) {
  std::unique_ptr<ActorCriticModel> a2c_model = NewModel(), ppo_model = NewModel();
  ActorCriticNetwork& network = ppo_model->network();
  Ppo ppo(AdvantageActorCritic(), std::move(ppo_model), 1);
  LocalOptimizer optimizer(ppo.ParameterGroups());
  A2c a2c(&a2c_model->network());
  const at::Tensor before = network.parameters().flat().clone();
  for (int update = 0; update < 100; ++update) {
    Batch batch = RandomRound();
    RecordLogProbs(network, batch);
    ppo.Update(batch, optimizer);
    a2c.Update(batch);
    ASSERT_TRUE(at::equal(network.parameters().flat(), a2c_model->network().parameters().flat())) << update;
  }
  EXPECT_GT((network.parameters().flat() - before).norm().item<double>(), 0.1);
}

// Takes gradients and steps nothing.
class Gradients : public GradientSink {
 public:
  void Apply(size_t, const std::vector<at::Tensor>& gradients) override { all.push_back(gradients.front().clone()); }
  std::vector<at::Tensor> all;
};

TEST(PpoTest, AMinibatchIsAShareOfTheStepsAndEachEpochHasThemAll) {
  v1::PpoOptions options = AdvantageActorCritic();
  options.set_epochs(2);
  options.set_minibatches(5);
  std::unique_ptr<ActorCriticModel> model = NewModel();
  ActorCriticNetwork& network = model->network();
  Ppo ppo(options, std::move(model), 1);
  Batch batch = RandomRound();
  RecordLogProbs(network, batch);
  Gradients all, parts;
  Ppo(AdvantageActorCritic(), NewModel(), 1).Update(batch, all);
  ppo.Update(batch, parts);
  ASSERT_EQ(parts.all.size(), 10u);
  // With parameters that stay, the minibatches' gradients have the whole round's as their mean, in every epoch.
  for (int epoch = 0; epoch < 2; ++epoch) {
    at::Tensor mean = at::zeros_like(parts.all[0]);
    for (int i = 0; i < 5; ++i) mean += parts.all[5 * epoch + i] / 5;
    EXPECT_TRUE(at::allclose(mean, all.all[0], 1e-4, 1e-6)) << epoch;
  }
  EXPECT_FALSE(at::equal(parts.all[0], parts.all[5])) << "each epoch has its own order";
}

TEST(PpoTest, NothingIsGainedBeyondTheClip) {
  v1::PpoOptions options = AdvantageActorCritic();
  options.set_value_coefficient(0);
  options.set_entropy_coefficient(0);
  std::unique_ptr<ActorCriticModel> model = NewModel();
  ActorCriticNetwork& network = model->network();
  Ppo ppo(options, std::move(model), 1);
  Batch batch = RandomRound();
  RecordLogProbs(network, batch);
  // Large rewards: every advantage is positive; the policy has already gone beyond 1.2 times the old probability.
  batch.slices[UnrollSlice::kReward].fill_(100);
  batch.slices[UnrollSlice::kLogProb].sub_(0.5);
  Gradients gradients;
  ppo.Update(batch, gradients);
  EXPECT_EQ(gradients.all[0].abs().sum().item<double>(), 0);
  // The other way round the loss is not clipped: it has to come back.
  batch.slices[UnrollSlice::kReward].fill_(-100);
  ppo.Update(batch, gradients);
  EXPECT_GT(gradients.all[1].abs().sum().item<double>(), 0);
}

TEST(PpoTest, ARoundEndsEarlyWhereThePolicyHasMovedTooFar) {
  v1::PpoOptions options = AdvantageActorCritic();
  options.set_epochs(10);
  options.set_target_kl(0.01);
  std::unique_ptr<ActorCriticModel> model = NewModel();
  ActorCriticNetwork& network = model->network();
  Ppo ppo(options, std::move(model), 1);
  Batch batch = RandomRound();
  RecordLogProbs(network, batch);
  Gradients near;
  ppo.Update(batch, near);
  EXPECT_EQ(near.all.size(), 10u);  // the parameters stay, so does the policy
  batch.slices[UnrollSlice::kLogProb].sub_(0.5);
  Gradients far;
  ppo.Update(batch, far);
  EXPECT_EQ(far.all.size(), 1u);
}

TEST(PpoTest, MomentsTakeEffectWithTheNextWeights) {
  std::unique_ptr<ActorCriticModel> model = *ActorCriticModel::Create(Spec(), true, true, at::kCPU);
  Ppo ppo(AdvantageActorCritic(), std::move(model), 1);
  const auto mean = [&] {
    for (const NamedTensor& named : ppo.PolicyTensors()) {
      if (named.name == "normalizer/mean") return named.tensor[0].item<double>();
    }
    return -1.0;
  };
  v1::Moments moments;
  moments.set_count(10);
  for (int i = 0; i < kObservation; ++i) {
    moments.add_mean(5);
    moments.add_m2(10);
  }
  ppo.SetObservationMoments(moments);
  EXPECT_EQ(mean(), 0);  // as the actors saw this round
  Batch batch = RandomRound();
  Gradients gradients;
  ppo.Update(batch, gradients);
  EXPECT_EQ(mean(), 5);
}

}  // namespace
}  // namespace headrace
