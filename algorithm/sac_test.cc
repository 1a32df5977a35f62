#include "algorithm/sac.h"

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/rand.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/transition_experience.h"
#include "gtest/gtest.h"
#include "model/device.h"
#include "model/mlp.h"
#include "tests/golden/golden.h"

namespace headrace {
namespace {

constexpr int64_t kBatch = 5, kObservation = 3, kAction = 2;

// Those of tests/golden/sac.py.
v1::SacOptions GoldenOptions() {
  v1::SacOptions options;
  options.add_hidden(8);
  options.add_hidden(8);
  options.set_batch_size(kBatch);
  options.set_discount(0.9);
  options.set_tau(0.05);
  options.set_reward_scale(2);
  options.set_initial_temperature(0.3);
  options.set_target_entropy(-1.5);
  options.set_actor_learning_rate(1e-3);
  options.set_critic_learning_rate(2e-3);
  options.set_temperature_learning_rate(3e-3);
  return options;
}

std::unique_ptr<Sac> MakeSmallSac(const v1::SacOptions& options, at::Device device = at::kCPU) {
  return std::make_unique<Sac>(options,
                               TanhGaussianPolicySpec{.observation = kObservation, .action = kAction, .hidden = {8, 8}},
                               device, /*seed=*/1);
}

Batch RandomBatch() {
  return {{at::randn({kBatch, 2, kObservation}), at::rand({kBatch, 1, kAction}).mul_(2).sub_(1), at::randn({kBatch, 1}),
           at::zeros({kBatch, 1}, at::kByte), at::zeros({kBatch, 1}, at::kLong)}};
}

std::map<std::string, at::Tensor> Copy(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> copies;
  for (const NamedTensor& named : tensors) copies[named.name] = named.tensor.clone();
  return copies;
}

// Passes gradients on to an optimiser and lets the test look between the steps.
class WatchingSink : public GradientSink {
 public:
  WatchingSink(GradientSink& optimizer, std::function<void(size_t)> after)
      : optimizer_(optimizer), after_(std::move(after)) {}
  void Apply(size_t group, const std::vector<at::Tensor>& gradients) override {
    optimizer_.Apply(group, gradients);
    after_(group);
  }

 private:
  GradientSink& optimizer_;
  std::function<void(size_t)> after_;
};

void ExpectGoldenNumbers(at::Device device) {
  std::map<std::string, at::Tensor> golden = ReadGolden("tests/golden/sac.textproto");
  const std::unique_ptr<Sac> sac = MakeSmallSac(GoldenOptions(), device);
  for (const NamedTensor& named : sac->StateTensors()) {
    if (named.name != "generator") at::Tensor(named.tensor).copy_(golden.at("initial/" + named.name));
  }
  LocalOptimizer optimizer(sac->ParameterGroups());
  for (int i = 0; i < 4; ++i) {
    const std::string update = "update" + std::to_string(i) + "/";
    const auto column = [&](const char* name, at::ScalarType type) {
      return golden.at(update + name).to(device, type).contiguous();
    };
    const Batch batch = {{column("observation", at::kFloat), column("action", at::kFloat).unsqueeze(1),
                          column("reward", at::kFloat).unsqueeze(1), column("terminated", at::kByte).unsqueeze(1),
                          at::zeros({kBatch, 1}, at::TensorOptions(device).dtype(at::kLong))}};
    sac->UpdateWithNoise(batch, column("noise", at::kFloat), optimizer);
    const at::Tensor metrics = column("metrics", at::kFloat);
    EXPECT_TRUE(at::allclose(sac->Metrics(), metrics, 1e-5, 1e-6)) << sac->Metrics() << metrics;
  }
  // An update moves a parameter by about 1e-3; single precision resolves 1e-7.
  for (const NamedTensor& named : sac->StateTensors()) {
    if (named.name == "generator") continue;
    const at::Tensor expected = golden.at("final/" + named.name).to(device, at::kFloat);
    EXPECT_TRUE(at::allclose(named.tensor, expected, 1e-6, 1e-6)) << named.name << named.tensor << expected;
  }
}

TEST(SacTest, ReproducesTheNumbersOfASecondImplementation) { ExpectGoldenNumbers(at::kCPU); }

TEST(SacTest, ReproducesThemOnAGpu) {
  const absl::StatusOr<c10::Device> gpu = ParseDevice("cuda");
  if (!gpu.ok()) GTEST_SKIP() << gpu.status().message();
  ExpectGoldenNumbers(*gpu);
}

// The parameters after two updates with these weights.
std::map<std::string, at::Tensor> AfterUpdates(bool prioritized, const at::Tensor& weights) {
  v1::SacOptions options = GoldenOptions();
  options.mutable_prioritized_replay()->set_enabled(prioritized);
  const std::unique_ptr<Sac> sac = MakeSmallSac(options);
  LocalOptimizer optimizer(sac->ParameterGroups());
  at::manual_seed(3);
  for (int i = 0; i < 2; ++i) {
    Batch batch = RandomBatch();
    batch.weights = weights;
    sac->Update(batch, optimizer);
  }
  return Copy(sac->StateTensors());
}

TEST(SacTest, WeightsOfOneChangeNothingAndWeightsOfZeroKeepTheCritics) {
  const std::map<std::string, at::Tensor> uniform = AfterUpdates(false, {});
  for (const auto& [name, tensor] : AfterUpdates(true, at::ones({kBatch}))) {
    EXPECT_TRUE(at::equal(tensor, uniform.at(name))) << name;
  }
  const std::map<std::string, at::Tensor> initial = Copy(MakeSmallSac(GoldenOptions())->StateTensors());
  for (const auto& [name, tensor] : AfterUpdates(true, at::zeros({kBatch}))) {
    if (name.starts_with("critics/")) EXPECT_TRUE(at::equal(tensor, initial.at(name))) << name;
    if (name.starts_with("actor/")) EXPECT_FALSE(at::equal(tensor, initial.at(name))) << name;
  }
}

TEST(SacTest, PrioritiesAreTheSizesOfTheErrors) {
  v1::SacOptions options = GoldenOptions();
  EXPECT_FALSE(MakeSmallSac(options)->Priorities().defined());
  options.mutable_prioritized_replay()->set_enabled(true);
  const std::unique_ptr<Sac> sac = MakeSmallSac(options);
  LocalOptimizer optimizer(sac->ParameterGroups());
  // Every episode ends here, so that the target is the reward times its scale, and the critics begin near 0.
  Batch batch = RandomBatch();
  batch.slices[TransitionSlice::kTerminated] = at::ones({kBatch, 1}, at::kByte);
  batch.slices[TransitionSlice::kReward] = at::tensor({0.0f, 100.0f, -100.0f, 1000.0f, 1.0f}).view({kBatch, 1});
  batch.weights = at::ones({kBatch});
  sac->Update(batch, optimizer);
  const at::Tensor priorities = sac->Priorities();
  ASSERT_EQ(priorities.sizes(), at::IntArrayRef({kBatch}));
  EXPECT_NEAR(priorities[1].item<float>(), 200, 3);
  EXPECT_NEAR(priorities[2].item<float>(), 200, 3);
  EXPECT_NEAR(priorities[3].item<float>(), 2000, 3);
  EXPECT_GT(priorities.min().item<float>(), 0);
}

TEST(SacTest, StepsCriticsThenPolicyThenTemperatureEachByItself) {
  const std::unique_ptr<Sac> sac = MakeSmallSac(GoldenOptions());
  LocalOptimizer optimizer(sac->ParameterGroups());
  std::map<std::string, at::Tensor> before = Copy(sac->StateTensors());
  std::vector<size_t> order;
  WatchingSink sink(optimizer, [&](size_t group) {
    order.push_back(group);
    const char* const expected[] = {"critics/", "actor/", "log_temperature"};
    for (const NamedTensor& named : sac->StateTensors()) {
      const bool changed = !at::equal(named.tensor, before.at(named.name));
      // A step may leave a bias of a dead unit where it is, but it changes nothing of another group.
      if (named.name.rfind(expected[group], 0) != 0 && named.name != "generator") EXPECT_FALSE(changed) << named.name;
      if (named.name == std::string(expected[group]) + "layer2/weight") EXPECT_TRUE(changed) << named.name;
    }
    before = Copy(sac->StateTensors());
  });
  sac->Update(RandomBatch(), sink);
  EXPECT_EQ(order, (std::vector<size_t>{0, 1, 2}));
}

TEST(SacTest, TargetNetworksMoveByTauTowardsTheSteppedCritics) {
  const std::unique_ptr<Sac> sac = MakeSmallSac(GoldenOptions());
  LocalOptimizer optimizer(sac->ParameterGroups());
  const std::map<std::string, at::Tensor> before = Copy(sac->StateTensors());
  sac->Update(RandomBatch(), optimizer);
  const std::map<std::string, at::Tensor> after = Copy(sac->StateTensors());
  for (const auto& [name, old] : before) {
    if (name.rfind("target_critics/", 0) != 0) continue;
    const at::Tensor stepped = after.at(name.substr(7));
    EXPECT_TRUE(at::allclose(after.at(name), old.mul(0.95).add(stepped.mul(0.05)), 0, 1e-7)) << name;
  }
}

TEST(SacTest, TemperatureRisesWhileTheEntropyIsBelowItsTarget) {
  for (const double target_entropy : {-100.0, 100.0}) {
    v1::SacOptions options = GoldenOptions();
    options.set_target_entropy(target_entropy);
    const std::unique_ptr<Sac> sac = MakeSmallSac(options);
    LocalOptimizer optimizer(sac->ParameterGroups());
    const float before = Copy(sac->StateTensors()).at("log_temperature").item<float>();
    sac->Update(RandomBatch(), optimizer);
    const float after = Copy(sac->StateTensors()).at("log_temperature").item<float>();
    // Adam's first step has the length of the learning rate.
    EXPECT_NEAR(after - before, target_entropy > 0 ? 3e-3 : -3e-3, 1e-6);
  }
}

TEST(SacTest, FixedTemperatureStaysAndHasNoOptimizer) {
  v1::SacOptions options = GoldenOptions();
  options.set_automatic_temperature(false);
  const std::unique_ptr<Sac> sac = MakeSmallSac(options);
  const std::vector<ParameterGroup> groups = sac->ParameterGroups();
  ASSERT_EQ(groups.size(), 2u);
  LocalOptimizer optimizer(groups);
  for (int i = 0; i < 3; ++i) sac->Update(RandomBatch(), optimizer);
  EXPECT_FLOAT_EQ(Copy(sac->StateTensors()).at("log_temperature").item<float>(), std::log(0.3f));
}

TEST(SacTest, DefaultTargetEntropyIsMinusTheActionDimensions) {
  v1::SacOptions options = GoldenOptions();
  options.clear_target_entropy();
  const std::unique_ptr<Sac> sac = MakeSmallSac(options);
  LocalOptimizer optimizer(sac->ParameterGroups());
  sac->Update(RandomBatch(), optimizer);
  // loss = -log alpha (mean log pi + target), and metrics hold the loss, alpha and the entropy -mean log pi.
  const at::Tensor metrics = sac->Metrics();
  const double loss = metrics[2].item<double>(), alpha = metrics[3].item<double>(), entropy = metrics[4].item<double>();
  EXPECT_NEAR(loss, -std::log(alpha) * (-entropy - 2), 1e-5);
}

// One step, whose reward is -10 (a - 0.5)^2: the critics must find the parabola, and the policy its top.
TEST(SacTest, LearnsTheBestActionOfAOneStepTask) {
  v1::SacOptions options;
  options.set_batch_size(64);
  options.set_actor_learning_rate(3e-3);
  options.set_critic_learning_rate(3e-3);
  options.set_automatic_temperature(false);
  options.set_initial_temperature(0.01);
  const TanhGaussianPolicySpec spec = {.observation = 1, .action = 1, .hidden = {32, 32}};
  Sac sac(options, spec, at::kCPU, /*seed=*/1);
  LocalOptimizer optimizer(sac.ParameterGroups());
  for (int i = 0; i < 1500; ++i) {
    const at::Tensor a = at::rand({64, 1, 1}).mul_(2).sub_(1);
    const at::Tensor reward = a.sub(0.5).square_().mul_(-10).view({64, 1});
    sac.Update({{at::zeros({64, 2, 1}), a, reward, at::ones({64, 1}, at::kByte), at::zeros({64, 1}, at::kLong)}},
               optimizer);
  }
  MlpParameters policy = MlpParameters::Zeros(spec.network(), at::kCPU);
  const std::vector<NamedTensor> learned = sac.PolicyTensors();
  for (size_t i = 0; i < learned.size(); ++i) policy.Named("actor")[i].tensor.copy_(learned[i].tensor);
  EXPECT_NEAR(EvaluateMlp(policy, at::zeros({1, 1})).tanh()[0][0][0].item<double>(), 0.5, 0.1);
}

TEST(SacTest, UnusableGeneratorStateIsAnError) {
  const std::unique_ptr<Sac> sac = MakeSmallSac(GoldenOptions());
  for (const NamedTensor& named : sac->StateTensors()) {
    if (named.name == "generator") at::Tensor(named.tensor).fill_(0xff);
  }
  EXPECT_EQ(sac->StateLoaded().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SacTest, NormalizedObservationsGiveTheUpdateOfObservationsNormalizedBefore) {
  v1::SacOptions options = GoldenOptions();
  const std::unique_ptr<Sac> plain = MakeSmallSac(options);
  options.set_normalize_observations(true);
  const std::unique_ptr<Sac> normalizing = MakeSmallSac(options);
  v1::Moments moments;
  moments.set_count(4);
  for (const double mean : {1.0, -2.0, 0.5}) moments.add_mean(mean);
  for (const double m2 : {16.0, 1.0, 4.0}) moments.add_m2(m2);  // variances 4, 0.25, 1
  normalizing->SetObservationMoments(moments);

  Batch batch = RandomBatch();
  LocalOptimizer plain_optimizer(plain->ParameterGroups()), normalizing_optimizer(normalizing->ParameterGroups());
  plain->Update(batch, plain_optimizer);
  at::Tensor& observations = batch.slices[TransitionSlice::kObservation];
  const float mean[] = {1, -2, 0.5}, deviation[] = {2, 0.5, 1};
  for (int64_t i = 0; i < kObservation; ++i) observations.select(2, i).mul_(deviation[i]).add_(mean[i]);
  normalizing->Update(batch, normalizing_optimizer);
  EXPECT_TRUE(at::allclose(plain->Metrics(), normalizing->Metrics(), 1e-4, 1e-5));
}

}  // namespace
}  // namespace headrace
