#include "algorithm/ppo.h"

#include <algorithm>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full_like.h"
#include "ATen/ops/isfinite.h"
#include "ATen/ops/max.h"
#include "ATen/ops/min.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/randn_like.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/target/v_trace.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "model/actor_critic_pass.h"

namespace headrace {
namespace {

constexpr int64_t kLanes = 4, kSteps = 5, kRows = 2 * kSteps + 1, kObservation = 3, kActions = 2;

ActorCriticSpec Spec(bool continuous = false) {
  ActorCriticSpec spec = {.network = {}, .observation = {kObservation}, .actions = kActions, .continuous = continuous};
  spec.network.add_hidden(16);
  return spec;
}

std::unique_ptr<ActorCriticModel> NewModel(const ActorCriticSpec& spec = Spec()) {
  std::unique_ptr<ActorCriticModel> model = *ActorCriticModel::Create(spec, true, false, at::kCPU);
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
Batch RandomRound(bool continuous = false) {
  Batch batch;
  at::Tensor terminated = at::zeros({kLanes, kRows}, at::kByte);
  at::Tensor observation_only = at::zeros({kLanes, kRows}, at::kByte);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    terminated[lane][lane] = lane % 2 == 0;
    observation_only[lane][lane + 1] = 1;
    observation_only[lane].narrow(0, kSteps + 1, kRows - kSteps - 1).fill_(1);
  }
  batch.slices = {at::randn({kLanes, kRows, kObservation}),
                  continuous ? at::randn({kLanes, kRows, kActions}) : at::randint(kActions, {kLanes, kRows}, at::kInt),
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
  const at::Tensor steps = StepIndices(batch);
  const at::Tensor log_prob =
      ActorCriticPass::Create(network)
          ->Forward(batch.slices[UnrollSlice::kObservation].flatten(0, 1).index_select(0, steps))
          .Likelihood(batch.slices[UnrollSlice::kAction].flatten(0, 1).index_select(0, steps))
          .log_prob;
  batch.slices[UnrollSlice::kLogProb].view({-1}).index_copy_(0, steps, log_prob);
}

// Advantage actor-critic as it is usually written, with RMSProp: Mnih et al., arXiv:1602.01783, in one round. Its loss
// is mean -A log pi + (V - R)^2 / 2 - 0.01 H.
class A2c {
 public:
  explicit A2c(ActorCriticNetwork* network)
      : network_(network),
        pass_(ActorCriticPass::Create(*network)),
        square_(at::zeros_like(network->parameters().flat())) {}

  void Update(const Batch& batch) {
    const UnrollTensors unroll = MakeUnrollTensors(batch, 0.99, 1, 0);
    const at::Tensor observations = batch.slices[UnrollSlice::kObservation].flatten(0, 1);
    const at::Tensor value = network_->Forward(observations).value.view({kLanes, kRows});
    const VTraceTarget target =
        MakeGeneralizedAdvantage({unroll.reward, unroll.discount, unroll.is_step, value, {}}, 1);
    const at::Tensor steps = StepIndices(batch);
    const at::Tensor advantage = target.advantage.flatten().index_select(0, steps);
    const at::Tensor returns = target.value.flatten().index_select(0, steps);
    const at::Tensor actions = batch.slices[UnrollSlice::kAction].flatten().index_select(0, steps);
    const double count = static_cast<double>(steps.size(0));
    const ActorCriticNetwork::Output output = pass_->Forward(observations.index_select(0, steps));
    const PolicyGradient policy = output.Backward(output.Likelihood(actions), actions, -advantage / count,
                                                  at::full_like(advantage, -0.01 / count));
    at::Tensor gradient =
        pass_->Backward({.policy = policy.policy, .log_std = {}, .value = (output.value - returns) * (1 / count)});
    gradient = gradient * (0.5 / (gradient.norm() + 1e-6)).clamp_max(1);
    square_.mul_(0.99).addcmul_(gradient, gradient, 1 - 0.99);
    at::Tensor flat = network_->parameters().flat();
    flat.addcdiv_(gradient, square_.sqrt().add_(1e-5), -7e-4);
  }

 private:
  ActorCriticNetwork* const network_;
  const std::unique_ptr<ActorCriticPass> pass_;
  at::Tensor square_;
};

// The same from the paper's pseudo-code alone, step by step, by autograd: it has no line in common with PPO's loss,
// targets and derivatives.
class A2cByAutograd {
 public:
  explicit A2cByAutograd(ActorCriticNetwork* network)
      : network_(network), square_(at::zeros_like(network->parameters().flat())) {}

  void Update(const Batch& batch) {
    const FlatParameters::Recorded parameters = network_->parameters().Record();
    at::Tensor loss = at::zeros({});
    int64_t steps = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const ActorCriticNetwork::Output output =
          network_->Forward(parameters.views, batch.slices[UnrollSlice::kObservation][lane]);
      const at::Tensor log_pi = output.policy.log_softmax(1);
      double R = 0;
      for (int64_t t = kRows - 1; t >= 0; --t) {
        const at::Tensor V = output.value[t];
        if (batch.slices[UnrollSlice::kObservationOnly][lane][t].item<int>() == 1) {
          R = V.item<double>();
          continue;
        }
        const bool terminal = batch.slices[UnrollSlice::kTerminated][lane][t].item<int>() == 1;
        R = batch.slices[UnrollSlice::kReward][lane][t].item<double>() + (terminal ? 0 : 0.99 * R);
        const at::Tensor of_action = log_pi[t][batch.slices[UnrollSlice::kAction][lane][t].item<int64_t>()];
        const at::Tensor negative_entropy = (log_pi[t].exp() * log_pi[t]).sum();
        loss = loss - of_action * (R - V.item<double>()) + (V - R).square() / 2 + 0.01 * negative_entropy;
        ++steps;
      }
    }
    at::Tensor gradient = parameters.Gradient(loss / steps);
    gradient = gradient * std::min(1.0, 0.5 / gradient.norm().item<double>());
    square_ = 0.99 * square_ + 0.01 * gradient.square();
    network_->parameters().flat().sub_(7e-4 * gradient / (square_.sqrt() + 1e-5));
  }

 private:
  ActorCriticNetwork* const network_;
  at::Tensor square_;
};

TEST(PpoTest, WithOneEpochAndOneMinibatchItGoesWhereThePapersPseudoCodeGoes) {
  std::unique_ptr<ActorCriticModel> a2c_model = NewModel(), ppo_model = NewModel();
  ActorCriticNetwork& network = ppo_model->network();
  Ppo ppo(AdvantageActorCritic(), std::move(ppo_model), 1);
  LocalOptimizer optimizer(ppo.ParameterGroups());
  A2cByAutograd a2c(&a2c_model->network());
  const at::Tensor before = network.parameters().flat().clone();
  for (int update = 0; update < 100; ++update) {
    Batch batch = RandomRound();
    RecordLogProbs(network, batch);
    ppo.Update(batch, optimizer);
    a2c.Update(batch);
  }
  const at::Tensor moved = network.parameters().flat() - before;
  const at::Tensor difference = network.parameters().flat() - a2c_model->network().parameters().flat();
  EXPECT_LT(difference.norm().item<double>(), 1e-3 * moved.norm().item<double>());
}

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

// What a round's gradient must be, with everything but the parameters fixed: the loss of the paper by autograd.
at::Tensor ExpectedGradient(const v1::PpoOptions& options, const ActorCriticNetwork& network, const Batch& batch) {
  const UnrollTensors unroll = MakeUnrollTensors(batch, options.discount(), 1, 0);
  const at::Tensor observations = batch.slices[UnrollSlice::kObservation].flatten(0, 1);
  const at::Tensor old_values = network.Forward(observations).value;
  const VTraceTarget target = MakeGeneralizedAdvantage(
      {unroll.reward, unroll.discount, unroll.is_step, old_values.view({kLanes, kRows}), {}}, options.lambda());
  const at::Tensor steps = StepIndices(batch);
  const auto at_steps = [&](const at::Tensor& tensor) { return tensor.flatten(0, 1).index_select(0, steps); };
  const FlatParameters::Recorded recorded = network.parameters().Record();
  const ActorCriticNetwork::Output output = network.Forward(recorded.views, observations.index_select(0, steps));
  const ActionLikelihood likelihood = output.Likelihood(at_steps(batch.slices[UnrollSlice::kAction]));
  at::Tensor advantage = at_steps(target.advantage);
  if (options.normalize_advantages()) advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8);
  const at::Tensor ratio = (likelihood.log_prob - at_steps(batch.slices[UnrollSlice::kLogProb])).exp();
  const double clip = options.clip();
  const at::Tensor policy = at::min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean();
  const at::Tensor returns = at_steps(target.value);
  at::Tensor error = (output.value - returns).square();
  if (options.has_value_clip()) {
    const at::Tensor old_value = old_values.index_select(0, steps);
    const double most = options.value_clip();
    error = at::max(error, (old_value + (output.value - old_value).clamp(-most, most) - returns).square());
  }
  return recorded.Gradient(-policy + options.value_coefficient() * error.mean() -
                           options.entropy_coefficient() * likelihood.entropy.mean());
}

// An environment that breaks down in a round's first steps leaves fewer of them, and at worst an observation alone.
TEST(PpoTest, OfARoundInWhichEnvironmentsBrokeDownItLearnsFromTheStepsThereAre) {
  v1::PpoOptions options = AdvantageActorCritic();
  options.set_minibatches(4);  // of steps that they do not divide
  std::unique_ptr<ActorCriticModel> model = NewModel();
  ActorCriticNetwork& network = model->network();
  Ppo ppo(options, std::move(model), 1);
  Batch batch = RandomRound();
  batch.slices[UnrollSlice::kObservationOnly][1].narrow(0, kSteps - 1, kRows - kSteps + 1).fill_(1);
  batch.slices[UnrollSlice::kObservationOnly][3].fill_(1);
  RecordLogProbs(network, batch);
  const int64_t steps = StepIndices(batch).size(0);
  ASSERT_EQ(steps, 2 * kSteps + 3);
  Gradients parts;
  ppo.Update(batch, parts);
  ASSERT_EQ(parts.all.size(), 4u);
  const at::Tensor expected = ExpectedGradient(options, network, batch);
  at::Tensor mean = at::zeros_like(expected);
  for (int i = 0; i < 4; ++i) mean += parts.all[i] * ((i < 3 ? 4.0 : 1.0) / static_cast<double>(steps));
  EXPECT_TRUE(at::allclose(mean, expected, 1e-4, 1e-6));

  for (at::Tensor& slice : batch.slices) slice = slice.narrow(1, kRows - 1, 1);  // nothing but observations
  Gradients none;
  ppo.Update(batch, none);
  EXPECT_TRUE(none.all.empty());
  EXPECT_TRUE(at::isfinite(ppo.Metrics()).all().item<bool>());
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

TEST(PpoTest, GradientsAreThoseOfThePapersLossByAutograd) {
  for (int variant = 0; variant < 16; ++variant) {
    const bool continuous = variant & 1, shared = variant & 2, normalize = variant & 4, value_clip = variant & 8;
    SCOPED_TRACE(variant);
    v1::PpoOptions options = AdvantageActorCritic();
    options.set_normalize_advantages(normalize);
    options.set_epochs(2);
    if (value_clip) options.set_value_clip(0.05);
    ActorCriticSpec spec = Spec(continuous);
    spec.network.set_shared(shared);
    std::unique_ptr<ActorCriticModel> model = NewModel(spec);
    ActorCriticNetwork& network = model->network();
    at::Tensor flat = network.parameters().flat();
    flat.add_(at::randn_like(flat), 0.3);
    Ppo ppo(options, std::move(model), 1);
    Batch batch = RandomRound(continuous);
    RecordLogProbs(network, batch);
    // The policy that acted was another: ratios within the clip and beyond it, to both sides.
    batch.slices[UnrollSlice::kLogProb].add_(at::randn({kLanes, kRows}), 0.3);
    const at::Tensor before = flat.clone(), expected = ExpectedGradient(options, network, batch);
    Gradients gradients;
    ppo.Update(batch, gradients);
    EXPECT_LT((gradients.all[0] - expected).norm().item<double>(), 1e-6 * expected.norm().item<double>());
    const double clipped = ppo.Metrics()[4].item<double>();
    EXPECT_GT(clipped, 0);
    EXPECT_LT(clipped, 1);
  }
}

// Takes gradients, and adds 1 to a parameter each time.
class Raised : public Gradients {
 public:
  explicit Raised(at::Tensor parameter) : parameter_(std::move(parameter)) {}
  void Apply(size_t group, const std::vector<at::Tensor>& gradients) override {
    Gradients::Apply(group, gradients);
    parameter_.add_(1);
  }

 private:
  at::Tensor parameter_;
};

TEST(PpoTest, AClippedValueGoesNoFurtherTowardsItsTarget) {
  // Targets are far above, and after the first epoch all values are 1 higher.
  for (const bool clipped : {false, true}) {
    v1::PpoOptions options = AdvantageActorCritic();
    options.set_epochs(2);
    if (clipped) options.set_value_clip(0.5);
    std::unique_ptr<ActorCriticModel> model = NewModel();
    ActorCriticNetwork& network = model->network();
    Ppo ppo(options, std::move(model), 1);
    Batch batch = RandomRound();
    RecordLogProbs(network, batch);
    batch.slices[UnrollSlice::kReward].fill_(100);
    Raised gradients(network.parameters().views().back());
    ppo.Update(batch, gradients);
    ASSERT_EQ(gradients.all.size(), 2u);
    EXPECT_NE(gradients.all[0][-1].item<double>(), 0);
    EXPECT_EQ(gradients.all[1][-1].item<double>() == 0, clipped);
  }
}

// As in Stable-Baselines3: what shows that the policy has moved too far is not stepped.
TEST(PpoTest, ARoundEndsBeforeTheStepOfAMinibatchThatIsTooFar) {
  v1::PpoOptions options = AdvantageActorCritic();
  options.set_epochs(10);
  std::unique_ptr<ActorCriticModel> model = NewModel();
  ActorCriticNetwork& network = model->network();
  const at::Tensor policy_bias = network.parameters().views()[3][0];
  Batch batch = RandomRound();
  RecordLogProbs(network, batch);
  // r - 1 - log r of r = 1 / e^0.2 is 0.0187, of r = 1 / e^0.1 it is 0.0048.
  batch.slices[UnrollSlice::kLogProb].add_(0.1);
  options.set_target_kl(0.01);  // up to 0.015
  Ppo ppo(options, std::move(model), 1);
  Gradients near;
  ppo.Update(batch, near);
  EXPECT_EQ(near.all.size(), 10u);  // the parameters stay, so does the policy
  batch.slices[UnrollSlice::kLogProb].add_(0.1);
  Gradients far;
  ppo.Update(batch, far);
  EXPECT_EQ(far.all.size(), 0u);
  EXPECT_NEAR(ppo.Metrics()[3].item<double>(), 0.0187, 1e-4);  // what ended the round is reported
  // One step takes a policy that is where it was too far away.
  batch.slices[UnrollSlice::kLogProb].sub_(0.2);
  Raised moved(policy_bias);
  ppo.Update(batch, moved);
  EXPECT_EQ(moved.all.size(), 1u);
}

TEST(PpoTest, AnAnnealedClipNarrowsOverTheRun) {
  v1::PpoOptions options = AdvantageActorCritic();
  options.set_anneal_clip(true);
  std::unique_ptr<ActorCriticModel> model = NewModel();
  ActorCriticNetwork& network = model->network();
  Ppo ppo(options, std::move(model), 1);
  Batch batch = RandomRound();
  RecordLogProbs(network, batch);
  batch.slices[UnrollSlice::kLogProb].sub_(0.1);  // ratios of 1.105
  for (const auto& [progress, clipped] : {std::pair(0.0, 0.0), {0.45, 0.0}, {0.5, 1.0}, {1.0, 1.0}}) {
    batch.progress = progress;  // a clip of 0.2, 0.11, 0.1 and almost 0
    Gradients gradients;
    ppo.Update(batch, gradients);
    EXPECT_EQ(ppo.Metrics()[4].item<double>(), clipped) << progress;
  }
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

// A return has a variance of 16 / 4 = 4 here.
TEST(PpoTest, RewardsAreDividedByTheSpreadOfReturnsAndClipped) {
  v1::PpoOptions normalizing = AdvantageActorCritic();
  normalizing.set_normalize_rewards(true);
  Ppo ppo(normalizing, NewModel(), 1), by_hand(AdvantageActorCritic(), NewModel(), 1);
  Batch batch = RandomRound();
  RecordLogProbs(NewModel()->network(), batch);
  batch.slices[UnrollSlice::kReward][0][0] = 100;
  Gradients of_one, of_other;
  const auto expect_rewards = [&](double scale) {
    ppo.Update(batch, of_one);
    Batch scaled = batch;
    scaled.slices[UnrollSlice::kReward] = (batch.slices[UnrollSlice::kReward] * scale).clamp(-10, 10);
    by_hand.Update(scaled, of_other);
    EXPECT_TRUE(at::allclose(of_one.all.back(), of_other.all.back(), 1e-6, 1e-8)) << scale;
  };
  v1::Moments moments;
  moments.set_count(1);
  moments.add_mean(7);
  moments.add_m2(0);
  ppo.SetReturnMoments(moments);
  expect_rewards(1);  // of one return there is no spread
  moments.set_count(4);
  moments.set_m2(0, 16);
  ppo.SetReturnMoments(moments);
  expect_rewards(0.5);
}

}  // namespace
}  // namespace headrace
