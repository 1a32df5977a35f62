// What every algorithm of the registry must hold, on a small environment of each kind of actions it supports, on the
// processor and, where there is one, on a GPU.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/isfinite.h"
#include "ATen/ops/rand.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "algorithm/algorithm.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/registry.h"
#include "common/config_fields.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "model/device.h"

namespace headrace {
namespace {

constexpr uint32_t kObservation = 5, kActions = 3;

struct Case {
  std::string algorithm;
  bool discrete = false;
  std::string options = {};  // of the algorithm, in text format
  std::string device = "cpu";
};

std::vector<Case> CasesOnTheProcessor() {
  std::vector<Case> cases;
  for (const AlgorithmFacts& facts : AllAlgorithms()) {
    if (facts.continuous_actions) cases.push_back({facts.name, false});
    if (facts.discrete_actions) cases.push_back({facts.name, true});
  }
  cases.push_back({"sac", false, "n_step: 3 prioritized_replay { enabled: true }"});
  cases.push_back(
      {"actor_critic", true, "correction: EPSILON reduction: SUM optimizer { kind: RMSPROP_EPSILON_INSIDE }"});
  cases.push_back({"actor_critic", false, "network { hidden: 8 lstm: 6 } burn_in: 2 normalize_observations: true"});
  cases.push_back({"ppo", false,
                   "network { shared: false } value_clip: 0.2 anneal_clip: true target_kl: 1e6 "
                   "normalize_observations: true normalize_rewards: true"});
  cases.push_back({"dqn", true,
                   "n_step: 3 prioritized_replay { enabled: true } loss: SQUARED double_q: false reward_clip: 1 "
                   "target_update_interval: 2 tau: 0.5 exploration { end: 0.1 end: 0.5 }"});
  cases.push_back({"q_learning", true,
                   "method: ONE_STEP_SARSA loss: HUBER reward_clip: 1 target_update_interval: 2 "
                   "optimizer { kind: RMSPROP_EPSILON_INSIDE }"});
  return cases;
}

bool HasGpu() { return ParseDevice("cuda").ok(); }

std::vector<Case> Cases() {
  std::vector<Case> cases = CasesOnTheProcessor();
  if (!HasGpu()) return cases;
  for (Case on_gpu : CasesOnTheProcessor()) {
    on_gpu.device = "cuda";
    cases.push_back(on_gpu);
  }
  return cases;
}

v1::EnvironmentSpec SmallEnvironment(bool discrete) {
  v1::EnvironmentSpec environment;
  environment.set_name("Small");
  environment.mutable_observation()->set_data_type(v1::FLOAT32);
  environment.mutable_observation()->add_shape(kObservation);
  environment.mutable_action()->set_data_type(discrete ? v1::INT64 : v1::FLOAT32);
  if (discrete) {
    environment.set_discrete_actions(kActions);
    return environment;
  }
  environment.mutable_action()->add_shape(kActions);
  for (uint32_t i = 0; i < kActions; ++i) {
    environment.add_action_low(-2);
    environment.add_action_high(2);
  }
  return environment;
}

std::map<std::string, at::Tensor> Copy(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> copies;
  for (const NamedTensor& named : tensors) {
    EXPECT_TRUE(copies.emplace(named.name, named.tensor.clone()).second) << named.name << " is listed twice";
  }
  return copies;
}

Batch OnDevice(Batch batch, at::Device device) {
  for (at::Tensor& slice : batch.slices) slice = slice.to(device);
  if (batch.rows.defined()) batch.rows = batch.rows.to(device);
  if (batch.weights.defined()) batch.weights = batch.weights.to(device);
  return batch;
}

void Load(const std::map<std::string, at::Tensor>& values, const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& named : tensors) at::Tensor(named.tensor).copy_(values.at(named.name));
}

// As a learner does it.
void UpdateOnce(Algorithm& algorithm, const Batch& batch, LocalOptimizer& optimizer) {
  algorithm.Update(batch, optimizer);
  algorithm.AfterUpdate(batch.progress);
}

void ExpectEqual(const std::map<std::string, at::Tensor>& a, const std::map<std::string, at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
}

class AlgorithmConformanceTest : public testing::TestWithParam<Case> {
 protected:
  AlgorithmConformanceTest() : environment_(SmallEnvironment(GetParam().discrete)) {
    const google::protobuf::FieldDescriptor* const field =
        v1::RunConfig::descriptor()->FindFieldByName(GetParam().algorithm);
    google::protobuf::Message* const options = config_.GetReflection()->MutableMessage(&config_, field);
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().options, options));
    config_.set_topology(FactsOf(config_)->topologies.front());
    config_.mutable_actor()->set_environments(4);
    config_.set_device(GetParam().device);
    SetDefaults(&config_);
    experience_ = *MakeExperience(config_, environment_);
  }

  std::unique_ptr<Algorithm> MakeSeeded(uint64_t seed) {
    v1::RunConfig config = config_;
    config.set_seed(seed);
    return *MakeAlgorithm(config, environment_);
  }

  const v1::Column* FindColumn(const std::string& name) const {
    for (const v1::Column& column : experience_.signature.columns()) {
      if (column.name() == name) return &column;
    }
    return nullptr;
  }

  // Numbers as an environment and its actors might have recorded them.
  at::Tensor RandomSlice(const v1::ColumnSlice& slice) const {
    const v1::Column& column = *FindColumn(slice.column());
    std::vector<int64_t> shape = {experience_.batch_size, slice.rows()};
    shape.insert(shape.end(), column.shape().begin(), column.shape().end());
    switch (column.data_type()) {
      case v1::FLOAT32:
        return column.name() == "action" ? at::rand(shape).mul_(2).sub_(1) : at::randn(shape);
      case v1::UINT8:
        return at::randint(10, shape).eq(0).to(at::kByte);
      case v1::INT32:
        return at::randint(kActions, shape, at::kInt);
      case v1::INT64:
        return at::randint(kActions, shape, at::kLong);
      default:
        ADD_FAILURE() << "no random numbers of type " << v1::DataType_Name(column.data_type());
        return at::zeros(shape);
    }
  }

  Batch RandomBatch() const {
    Batch batch;
    for (const v1::ColumnSlice& slice : experience_.slices) batch.slices.push_back(RandomSlice(slice));
    if (experience_.least_item_rows > 0) {
      batch.rows =
          at::randint(experience_.least_item_rows, experience_.item_rows + 1, {experience_.batch_size}, at::kInt);
    }
    if (experience_.sampler == v1::PROPORTIONAL) batch.weights = at::rand({experience_.batch_size});
    return OnDevice(std::move(batch), *ParseDevice(GetParam().device));
  }

  at::Tensor InitialState(int64_t lanes) const {
    const v1::Column* const column = FindColumn("recurrent_state");
    return column == nullptr ? at::Tensor() : at::zeros({lanes, column->shape(0)});
  }

  const v1::EnvironmentSpec environment_;
  v1::RunConfig config_;
  Experience experience_;
};

TEST_P(AlgorithmConformanceTest, SlicesAreRowsOfRecordedColumns) {
  ASSERT_GT(experience_.batch_size, 0u);
  ASSERT_GT(experience_.item_rows, 0u);
  ASSERT_GT(experience_.item_stride, 0u);
  for (const v1::ColumnSlice& slice : experience_.slices) {
    EXPECT_NE(FindColumn(slice.column()), nullptr) << slice.column();
    EXPECT_GT(slice.rows(), 0u) << slice.column();
    EXPECT_LT(slice.first_row() + (slice.rows() - 1) * std::max(slice.stride(), 1u), experience_.item_rows)
        << slice.column();
  }
}

TEST_P(AlgorithmConformanceTest, UpdateStepsEveryGroupAndReportsFiniteMetrics) {
  const std::unique_ptr<Algorithm> algorithm = MakeSeeded(1);
  const std::vector<ParameterGroup> groups = algorithm->ParameterGroups();
  std::vector<at::Tensor> before;
  for (const ParameterGroup& group : groups) before.push_back(group.parameters.front().clone());
  LocalOptimizer optimizer(groups);
  for (int i = 0; i < 3; ++i) UpdateOnce(*algorithm, RandomBatch(), optimizer);
  for (size_t i = 0; i < groups.size(); ++i) {
    EXPECT_FALSE(at::equal(before[i], groups[i].parameters.front())) << groups[i].name;
    EXPECT_TRUE(at::isfinite(groups[i].parameters.front()).all().item<bool>()) << groups[i].name;
  }
  ASSERT_EQ(algorithm->Metrics().sizes(), at::IntArrayRef({static_cast<int64_t>(algorithm->MetricNames().size())}));
  EXPECT_TRUE(at::isfinite(algorithm->Metrics()).all().item<bool>()) << algorithm->Metrics();
}

TEST_P(AlgorithmConformanceTest, SameSeedGivesTheSameBitsAndAnotherSeedOthers) {
  const Batch batch = RandomBatch();
  std::map<std::string, at::Tensor> results[3];
  for (int run = 0; run < 3; ++run) {
    const std::unique_ptr<Algorithm> algorithm = MakeSeeded(run < 2 ? 7 : 8);
    LocalOptimizer optimizer(algorithm->ParameterGroups());
    for (int i = 0; i < 3; ++i) UpdateOnce(*algorithm, batch, optimizer);
    results[run] = Copy(algorithm->StateTensors());
  }
  ExpectEqual(results[0], results[1]);
  const std::string name = MakeSeeded(1)->PolicyTensors().front().name;
  EXPECT_FALSE(at::equal(results[0].at(name), results[2].at(name)));
}

TEST_P(AlgorithmConformanceTest, RestoredStateContinuesToTheBit) {
  const Batch batch = RandomBatch();
  const std::unique_ptr<Algorithm> original = MakeSeeded(1), restored = MakeSeeded(2);
  LocalOptimizer optimizer(original->ParameterGroups()), restored_optimizer(restored->ParameterGroups());
  for (int i = 0; i < 3; ++i) UpdateOnce(*original, batch, optimizer);
  Load(Copy(original->StateTensors()), restored->StateTensors());
  Load(Copy(optimizer.StateTensors()), restored_optimizer.StateTensors());
  ASSERT_TRUE(restored->StateLoaded().ok());

  for (int i = 0; i < 3; ++i) {
    UpdateOnce(*original, batch, optimizer);
    UpdateOnce(*restored, batch, restored_optimizer);
  }
  ExpectEqual(Copy(original->StateTensors()), Copy(restored->StateTensors()));
  ExpectEqual(Copy(optimizer.StateTensors()), Copy(restored_optimizer.StateTensors()));
}

// From one state, with the same batches, as far as float32 goes: sums are of another order there.
TEST_P(AlgorithmConformanceTest, OnAGpuItLearnsWhatItLearnsOnTheProcessor) {
  if (GetParam().device == "cpu") GTEST_SKIP() << "compared from the GPU's side";
  const std::unique_ptr<Algorithm> on_gpu = MakeSeeded(1);
  config_.set_device("cpu");
  const std::unique_ptr<Algorithm> on_processor = MakeSeeded(1);
  std::map<std::string, at::Tensor> gpu_state = Copy(on_gpu->StateTensors());
  std::map<std::string, at::Tensor> state = Copy(on_processor->StateTensors());
  if (state.contains("generator") && state.at("generator").sizes() != gpu_state.at("generator").sizes()) {
    GTEST_SKIP() << "it draws random numbers on its device, and devices draw different ones";
  }
  LocalOptimizer gpu_optimizer(on_gpu->ParameterGroups()), optimizer(on_processor->ParameterGroups());
  for (int i = 0; i < 3; ++i) {
    const Batch batch = RandomBatch();
    UpdateOnce(*on_gpu, batch, gpu_optimizer);
    UpdateOnce(*on_processor, OnDevice(batch, at::kCPU), optimizer);
  }
  gpu_state = Copy(on_gpu->StateTensors());
  for (const auto& [name, tensor] : Copy(on_processor->StateTensors())) {
    const at::Tensor there = gpu_state.at(name).to(at::kCPU);
    EXPECT_TRUE(at::allclose(there.to(at::kDouble), tensor.to(at::kDouble), 1e-3, 1e-4))
        << name << ": on the GPU " << there << ", on the processor " << tensor;
  }
  const at::Tensor priorities = on_processor->Priorities();
  ASSERT_EQ(priorities.defined(), on_gpu->Priorities().defined());
  if (priorities.defined()) {
    EXPECT_TRUE(at::allclose(on_gpu->Priorities().to(at::kCPU), priorities, 1e-3, 1e-4));
  }
}

TEST_P(AlgorithmConformanceTest, StateHoldsWhatThePolicyPublishes) {
  const std::unique_ptr<Algorithm> algorithm = MakeSeeded(1);
  const std::map<std::string, at::Tensor> state = Copy(algorithm->StateTensors());
  for (const NamedTensor& named : algorithm->PolicyTensors()) EXPECT_EQ(state.count(named.name), 1u) << named.name;
}

TEST_P(AlgorithmConformanceTest, PolicyLoadsWhatTheLearnerPublishesAndActs) {
  const std::unique_ptr<Policy> policy = *MakePolicy(config_, environment_);
  const std::map<std::string, at::Tensor> published = Copy(MakeSeeded(1)->PolicyTensors());
  ASSERT_EQ(published.size(), policy->Tensors().size());
  Load(published, policy->Tensors());

  for (const ActMode mode : {ActMode::kRandom, ActMode::kExplore, ActMode::kGreedy}) {
    for (const int64_t lanes : {4, 1}) {
      const at::Tensor observations = at::randn({lanes, kObservation});
      at::Tensor actions[2], log_probs[2];
      for (int run = 0; run < 2; ++run) {
        RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
        at::Tensor state = InitialState(lanes);
        policy->Act(observations, mode, random, state, actions[run], log_probs[run]);
      }
      EXPECT_TRUE(at::equal(actions[0], actions[1])) << "the same stream must give the same actions";
      EXPECT_EQ(actions[0].size(0), lanes);
      EXPECT_EQ(actions[0].numel(), GetParam().discrete ? lanes : lanes * kActions);
      EXPECT_TRUE(at::isfinite(actions[0]).all().item<bool>());
      if (GetParam().discrete || mode == ActMode::kRandom) {
        EXPECT_GE(actions[0].min().item<double>(), GetParam().discrete ? 0 : -1);
        EXPECT_LE(actions[0].max().item<double>(), GetParam().discrete ? kActions - 1 : 1);
      }
      const bool recorded = FindColumn("behaviour_log_prob") != nullptr;
      ASSERT_EQ(log_probs[0].numel(), recorded ? lanes : 0);
      if (recorded) EXPECT_TRUE(at::isfinite(log_probs[0]).all().item<bool>());
    }
  }
}

TEST_P(AlgorithmConformanceTest, WhatALaneDoesAndRemembersDependsOnNoOtherLane) {
  const std::unique_ptr<Policy> policy = *MakePolicy(config_, environment_);
  Load(Copy(MakeSeeded(1)->PolicyTensors()), policy->Tensors());
  constexpr int64_t kLanes = 3, kSteps = 4;
  const at::Tensor observations = at::randn({kSteps, kLanes, kObservation});
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  at::Tensor actions, log_probs, all = InitialState(kLanes);
  std::vector<at::Tensor> together;
  for (int64_t t = 0; t < kSteps; ++t) {
    policy->Act(observations[t], ActMode::kGreedy, random, all, actions, log_probs);
    together.push_back(actions.clone());
  }
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    at::Tensor alone = InitialState(1);
    for (int64_t t = 0; t < kSteps; ++t) {
      policy->Act(observations[t].narrow(0, lane, 1), ActMode::kGreedy, random, alone, actions, log_probs);
      EXPECT_TRUE(at::allclose(actions[0], together[t][lane], 1e-5, 1e-6)) << "lane " << lane << ", step " << t;
    }
    if (alone.defined()) {
      EXPECT_TRUE(at::allclose(alone[0], all[lane], 1e-5, 1e-6));
      EXPECT_GT(alone.abs().max().item<double>(), 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, AlgorithmConformanceTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<Case>& info) {
                           return info.param.algorithm + (info.param.discrete ? "_discrete" : "_continuous") +
                                  (info.param.options.empty() ? "" : "_with_options") +
                                  (info.param.device == "cpu" ? "" : "_on_" + info.param.device);
                         });

}  // namespace
}  // namespace headrace
