#include "model/actor_critic_pass.h"

#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/randn_like.h"
#include "ATen/ops/zeros.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr int64_t kRows = 6, kActions = 3;

struct Case {
  std::string network;
  std::vector<int64_t> observation;
  bool continuous = false;
  bool bytes = false;
};

const Case kCases[] = {
    {"hidden: 8 hidden: 5", {4}},
    {"hidden: 8 hidden: 5", {4}, true},
    {"hidden: 8 hidden: 5 shared: false", {4}},
    {"hidden: 8 hidden: 5 shared: false", {4}, true},
    {"hidden: 7 activation: RELU", {2, 3}, true},
    {"hidden: 40 hidden: 40 hidden: 40 activation: RELU shared: false", {2, 3}, false, true},
    {"hidden: 1 shared: false", {1}, true},
    {"torso: MINATAR shared: false", {4, 10, 10}, true, true},
    {"hidden: 8 lstm: 5", {4}, true},
};

std::unique_ptr<ActorCriticNetwork> RandomNetwork(const Case& c) {
  ActorCriticSpec spec = {.network = {}, .observation = c.observation, .actions = kActions, .continuous = c.continuous};
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(c.network, &spec.network));
  std::unique_ptr<ActorCriticNetwork> network = *ActorCriticNetwork::Create(spec, true, at::kCPU);
  at::Tensor(network->parameters().flat()).normal_(0, 0.3);
  return network;
}

at::Tensor RandomObservations(const Case& c, int64_t rows) {
  std::vector<int64_t> shape = {rows};
  shape.insert(shape.end(), c.observation.begin(), c.observation.end());
  return c.bytes ? at::randint(2, shape, at::kByte) : at::randn(shape);
}

void ExpectNear(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_LT((actual - expected).norm().item<double>(), 1e-6 * expected.norm().item<double>());
}

TEST(ActorCriticPassTest, OutputsAndDerivativesAreThoseOfTheNetworkByAutograd) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.network + (c.continuous ? ", continuous" : ", discrete"));
    const std::unique_ptr<ActorCriticNetwork> network = RandomNetwork(c);
    const std::unique_ptr<ActorCriticPass> pass = ActorCriticPass::Create(*network);
    for (const int64_t rows : {kRows, int64_t{64}, kRows}) {  // buffers are reused, and made anew
      const at::Tensor observations = RandomObservations(c, rows);
      const bool recurrent = network->spec().network.lstm() > 0;
      const at::Tensor state = recurrent ? at::randn({2, StateSize(network->spec().network)}) : at::Tensor();
      const FlatParameters::Recorded recorded = network->parameters().Record();
      const ActorCriticNetwork::Output expected = network->Forward(recorded.views, observations, state);
      const ActorCriticNetwork::Output output = pass->Forward(observations, state);
      EXPECT_FALSE(output.policy.requires_grad() || output.value.requires_grad());
      ExpectNear(output.policy, expected.policy);
      ExpectNear(output.value, expected.value);
      ActorCriticPass::OutputGradient gradient = {
          .policy = at::randn_like(output.policy), .log_std = {}, .value = at::randn_like(output.value)};
      at::Tensor loss = (expected.policy * gradient.policy).sum() + (expected.value * gradient.value).sum();
      ASSERT_EQ(output.log_std.defined(), c.continuous);
      if (c.continuous) {
        EXPECT_TRUE(output.log_std.equal(expected.log_std));
        gradient.log_std = at::randn_like(output.log_std);
        loss = loss + (expected.log_std * gradient.log_std).sum();
      }
      if (recurrent) ExpectNear(output.state, expected.state);
      ExpectNear(pass->Backward(gradient), recorded.Gradient(loss));
    }
  }
}

TEST(ActorCriticPassTest, SeesParametersThatAreSteppedInPlace) {
  const std::unique_ptr<ActorCriticNetwork> network = RandomNetwork(kCases[3]);
  const std::unique_ptr<ActorCriticPass> pass = ActorCriticPass::Create(*network);
  const at::Tensor observations = RandomObservations(kCases[3], kRows);
  pass->Forward(observations);
  at::Tensor(network->parameters().flat()).normal_(0, 0.3);
  ExpectNear(pass->Forward(observations).value, network->Forward(observations).value);
}

}  // namespace
}  // namespace headrace
