#include "algorithm/tanh_gaussian_actor.h"

#include <cmath>
#include <map>
#include <string>

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/randn.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "model/initialization.h"
#include "model/tanh_gaussian.h"

namespace headrace {
namespace {

const TanhGaussianPolicySpec kSpec = {.observation = 6, .action = 2, .hidden = {8, 8}};

class TanhGaussianActorTest : public testing::Test {
 protected:
  // The learner's policy, whose tensors the actor loads.
  TanhGaussianActorTest() {
    RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
    InitializeFanInUniform(parameters_, random);
    parameters_.flat.mul_(3);
    Load(actor_);
  }

  void Load(TanhGaussianActor& actor) {
    std::map<std::string, at::Tensor> values;
    for (const NamedTensor& named : parameters_.Named("actor")) values[named.name] = named.tensor;
    for (const NamedTensor& named : actor.Tensors()) {
      if (values.count(named.name) != 0) named.tensor.copy_(values.at(named.name));
    }
  }

  RandomStream Exploration() const { return {1, StreamRole::kTest, 0, StreamPurpose::kExploration}; }

  at::Tensor Act(TanhGaussianActor& actor, ActMode mode, RandomStream random, const at::Tensor& observations) {
    at::Tensor no_state, actions, log_probs;
    actor.Act(observations, mode, random, no_state, actions, log_probs);
    EXPECT_EQ(log_probs.numel(), 0);
    return actions;
  }

  MlpParameters parameters_ = MlpParameters::Zeros(kSpec.network(), at::kCPU);
  TanhGaussianActor actor_{kSpec, false};
};

TEST_F(TanhGaussianActorTest, GreedyActionsAreTheSquashedMeans) {
  for (const int64_t lanes : {1, 3, 32}) {
    const at::Tensor s = at::randn({lanes, 6});
    const at::Tensor mean = EvaluateMlp(parameters_, s)[0].narrow(1, 0, 2);
    const at::Tensor actions = Act(actor_, ActMode::kGreedy, Exploration(), s);
    EXPECT_EQ(actions.sizes(), at::IntArrayRef({lanes, 2}));
    EXPECT_TRUE(at::allclose(actions, mean.tanh(), 1e-5, 1e-6));
  }
}

TEST_F(TanhGaussianActorTest, ExploringActionsAreTheSamplesOfTheLearnersPolicy) {
  const at::Tensor s = at::randn({5, 6});
  std::vector<float> noise(10);
  RandomStream random = Exploration();
  random.FillNormal(noise);
  const TanhGaussianSample expected =
      SampleTanhGaussian(EvaluateMlp(parameters_, s)[0], at::from_blob(noise.data(), {5, 2}));
  EXPECT_TRUE(at::allclose(Act(actor_, ActMode::kExplore, Exploration(), s), expected.action, 1e-5, 1e-6));
}

TEST_F(TanhGaussianActorTest, SameStreamGivesTheSameBits) {
  const at::Tensor s = at::randn({5, 6});
  for (const ActMode mode : {ActMode::kExplore, ActMode::kRandom}) {
    EXPECT_TRUE(at::equal(Act(actor_, mode, Exploration(), s), Act(actor_, mode, Exploration(), s)));
  }
}

TEST_F(TanhGaussianActorTest, RandomActionsAreUniformBetweenMinusOneAndOne) {
  const at::Tensor actions = Act(actor_, ActMode::kRandom, Exploration(), at::randn({20000, 6}));
  EXPECT_LE(actions.abs().max().item<float>(), 1);
  // A mean of 40000 numbers has a standard deviation of sqrt(1 / 3 / 40000) = 0.003; their variance is 1/3.
  EXPECT_NEAR(actions.mean().item<double>(), 0, 0.015);
  EXPECT_NEAR(actions.square().mean().item<double>(), 1.0 / 3, 0.01);
}

TEST_F(TanhGaussianActorTest, WritesIntoTheActionsItIsGiven) {
  at::Tensor no_state, actions = at::randn({3, 2}), log_probs;
  const void* const memory = actions.const_data_ptr();
  RandomStream random = Exploration();
  actor_.Act(at::randn({3, 6}), ActMode::kExplore, random, no_state, actions, log_probs);
  EXPECT_EQ(actions.const_data_ptr(), memory);
}

TEST_F(TanhGaussianActorTest, ObservationsOfSeveralDimensionsAreFlattened) {
  const at::Tensor s = at::randn({4, 2, 3});
  EXPECT_TRUE(at::equal(Act(actor_, ActMode::kGreedy, Exploration(), s),
                        Act(actor_, ActMode::kGreedy, Exploration(), s.view({4, 6}))));
}

TEST_F(TanhGaussianActorTest, NormalizesWithTheStatisticsItLoaded) {
  TanhGaussianActor normalizing(kSpec, true);
  Load(normalizing);
  for (const NamedTensor& named : normalizing.Tensors()) {
    if (named.name == "normalizer/mean") named.tensor.fill_(5);
    if (named.name == "normalizer/variance") named.tensor.fill_(4);
  }
  const at::Tensor s = at::randn({4, 6});
  const at::Tensor raw = s.mul(2).add(5), raw_before = raw.clone();
  EXPECT_TRUE(at::allclose(Act(normalizing, ActMode::kGreedy, Exploration(), raw),
                           Act(actor_, ActMode::kGreedy, Exploration(), s), 1e-4, 1e-5));
  EXPECT_TRUE(at::equal(raw, raw_before)) << "what is recorded must stay raw";
}

}  // namespace
}  // namespace headrace
