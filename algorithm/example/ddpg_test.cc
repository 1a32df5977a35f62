#include "algorithm/example/ddpg.h"

#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "algorithm/local_optimizer.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(DdpgTest, ThePrintedAlgorithmActsAndLearns) {
  v1::EnvironmentSpec environment;
  environment.mutable_observation()->set_data_type(v1::FLOAT32);
  environment.mutable_observation()->add_shape(3);
  environment.mutable_action()->set_data_type(v1::FLOAT32);
  environment.mutable_action()->add_shape(2);
  environment.add_action_low(-1);
  const v1::RunConfig config;
  const Experience experience = *MakeDdpgExperience(config, environment);
  const int64_t rows = experience.batch_size;
  const std::unique_ptr<Algorithm> algorithm = *MakeDdpg(config, environment);
  const std::unique_ptr<Policy> policy = *MakeDdpgPolicy(config, environment);

  const at::Tensor before = algorithm->PolicyTensors().front().tensor.clone();
  LocalOptimizer optimizer(algorithm->ParameterGroups());
  algorithm->Update({.slices = {at::randn({rows, 2, 3}), at::randn({rows, 1, 2}), at::randn({rows, 1}),
                                at::zeros({rows, 1}, at::kByte), at::ones({rows, 1}, at::kLong)}},
                    optimizer);
  EXPECT_FALSE(at::equal(algorithm->PolicyTensors().front().tensor, before));

  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kExploration);
  at::Tensor state, actions, log_probs;
  policy->Act(at::randn({4, 3}), ActMode::kExplore, random, state, actions, log_probs);
  EXPECT_EQ(actions.sizes(), at::IntArrayRef({4, 2}));
}

}  // namespace
}  // namespace headrace
