#include "algorithm/actor_critic.h"

#include <cmath>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "algorithm/unroll_experience.h"
#include "common/random.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr int64_t kLanes = 3, kRows = 6, kObservation = 4, kActions = 3;

std::unique_ptr<ActorCriticModel> NewModel() {
  ActorCriticSpec spec = {.observation = {kObservation}, .actions = kActions};
  spec.network.add_hidden(8);
  std::unique_ptr<ActorCriticModel> model = *ActorCriticModel::Create(spec, true, false, at::kCPU);
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  model->network().Initialize(random);
  return model;
}

// An episode ends in lane 0 after its second step, in a terminal state.
Batch RandomUnrolls() {
  Batch batch;
  at::Tensor terminated = at::zeros({kLanes, kRows}, at::kByte);
  at::Tensor observation_only = at::zeros({kLanes, kRows}, at::kByte);
  terminated[0][1] = 1;
  observation_only[0][2] = 1;
  batch.slices = {at::randn({kLanes, kRows, kObservation}),
                  at::randint(kActions, {kLanes, kRows}, at::kInt),
                  at::randn({kLanes, kRows}),
                  terminated,
                  observation_only,
                  at::randn({kLanes, kRows}) * 0.3 - std::log(3.0),
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
                         bool corrected) {
  at::Tensor loss = at::zeros({});
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    const ActorCriticNetwork::Output output =
        network.Forward(parameters, batch.slices[UnrollSlice::kObservation][lane]);
    const at::Tensor log_probs = at::log_softmax(output.policy, 1);
    double next_correction = 0;  // v_{t+1} - V_{t+1}
    for (int64_t t = kRows - 2; t >= 0; --t) {
      if (batch.slices[UnrollSlice::kObservationOnly][lane][t].item<int>() == 1) {
        next_correction = 0;
        continue;
      }
      const int64_t action = batch.slices[UnrollSlice::kAction][lane][t].item<int64_t>();
      const at::Tensor log_pi = log_probs[t][action];
      const double rho =
          corrected ? std::exp(log_pi.item<double>() - batch.slices[UnrollSlice::kLogProb][lane][t].item<double>()) : 1;
      const double discount = batch.slices[UnrollSlice::kTerminated][lane][t].item<int>() == 1 ? 0 : 0.99;
      const double reward = batch.slices[UnrollSlice::kReward][lane][t].item<double>();
      const double value = output.value[t].item<double>(), next_value = output.value[t + 1].item<double>();
      const double delta = std::min(1.0, rho) * (reward + discount * next_value - value);
      const double correction = delta + discount * std::min(1.0, rho) * next_correction;
      const double advantage = std::min(1.0, rho) * (reward + discount * (next_value + next_correction) - value);
      loss = loss - log_pi * advantage + 0.5 * 0.5 * (value + correction - output.value[t]).square();
      loss = loss + 0.01 * (log_probs[t].exp() * log_probs[t]).sum();
      next_correction = correction;
    }
  }
  return loss;
}

TEST(ActorCriticTest, GradientsAreThoseOfThePapersLoss) {
  for (const bool corrected : {true, false}) {
    v1::ActorCriticOptions options;
    options.set_reduction(v1::SUM);
    options.set_correction(corrected ? v1::V_TRACE : v1::NO_CORRECTION);
    std::unique_ptr<ActorCriticModel> model = NewModel();
    const ActorCriticNetwork& network = model->network();
    ActorCritic algorithm(options, std::move(model));
    const Batch batch = RandomUnrolls();
    Gradients gradients;
    algorithm.Update(batch, gradients);
    const FlatParameters::Recorded recorded = network.parameters().Record();
    const at::Tensor expected = recorded.Gradient(ReferenceLoss(network, recorded.views, batch, corrected));
    EXPECT_TRUE(at::allclose(gradients.last, expected, 1e-3, 1e-5)) << (gradients.last - expected).abs().max();
  }
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

}  // namespace
}  // namespace headrace
