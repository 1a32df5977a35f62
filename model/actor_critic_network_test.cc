#include "model/actor_critic_network.h"

#include <cmath>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

ActorCriticSpec Spec(const std::string& network, std::vector<int64_t> observation, bool continuous = false) {
  ActorCriticSpec spec = {.observation = std::move(observation), .actions = 3, .continuous = continuous};
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(network, &spec.network));
  return spec;
}

std::unique_ptr<ActorCriticNetwork> Make(const ActorCriticSpec& spec, bool with_value = true) {
  absl::StatusOr<std::unique_ptr<ActorCriticNetwork>> network = ActorCriticNetwork::Create(spec, with_value, at::kCPU);
  EXPECT_TRUE(network.ok()) << network.status();
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  (*network)->Initialize(random);
  return *std::move(network);
}

at::Tensor Observations(const ActorCriticSpec& spec, bool bytes) {
  std::vector<int64_t> shape = {2};
  shape.insert(shape.end(), spec.observation.begin(), spec.observation.end());
  return bytes ? at::randint(256, shape, at::kByte) : at::randn(shape);
}

struct Case {
  std::string network;
  std::vector<int64_t> observation;
  bool bytes = false;
};

const Case kCases[] = {
    {"hidden: 8 hidden: 5", {4}},
    {"hidden: 8 activation: RELU shared: false", {2, 3}},
    {"torso: MINATAR", {4, 10, 10}, true},
    {"torso: NATURE shared: false", {4, 84, 84}, true},
    {"torso: IMPALA_DEEP", {3, 21, 21}, true},
};

TEST(ActorCriticNetworkTest, EveryTorsoGivesAPolicyAndAValueAndDerivativesOfBoth) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.network);
    const ActorCriticSpec spec = Spec(c.network, c.observation);
    const std::unique_ptr<ActorCriticNetwork> network = Make(spec);
    const FlatParameters::Recorded recorded = network->parameters().Record();
    const ActorCriticNetwork::Output output = network->Forward(recorded.views, Observations(spec, c.bytes));
    EXPECT_EQ(output.policy.sizes(), at::IntArrayRef({2, 3}));
    EXPECT_EQ(output.value.sizes(), at::IntArrayRef({2}));
    const at::Tensor gradient = recorded.Gradient(output.policy.square().sum() + output.value.square().sum());
    EXPECT_EQ(gradient.sizes(), network->parameters().flat().sizes());
    for (const NamedTensor& named : network->parameters().Named("n")) {
      const int64_t offset = named.tensor.storage_offset();
      EXPECT_GT(gradient.narrow(0, offset, named.tensor.numel()).abs().sum().item<double>(), 0) << named.name;
    }
  }
}

TEST(ActorCriticNetworkTest, DerivativesAreThoseOfDifferences) {
  const ActorCriticSpec spec = Spec("hidden: 4 shared: false", {3}, true);
  const std::unique_ptr<ActorCriticNetwork> network = Make(spec);
  const at::Tensor observations = Observations(spec, false);
  const at::Tensor actions = at::randn({2, 3});
  const auto loss = [&](std::span<const at::Tensor> parameters) {
    const ActorCriticNetwork::Output output = network->Forward(parameters, observations);
    const ActionLikelihood likelihood = output.Likelihood(actions);
    return (likelihood.log_prob + 2 * likelihood.entropy + 3 * output.value).sum();
  };
  const FlatParameters::Recorded recorded = network->parameters().Record();
  const at::Tensor gradient = recorded.Gradient(loss(recorded.views));
  at::Tensor flat = network->parameters().flat();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const float before = flat[i].item<float>();
    constexpr double kStep = 1e-2;
    flat[i].fill_(before + kStep);
    const double above = loss(network->parameters().views()).item<double>();
    flat[i].fill_(before - kStep);
    const double below = loss(network->parameters().views()).item<double>();
    flat[i].fill_(before);
    EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2 * kStep), 2e-2) << i;
  }
}

TEST(ActorCriticNetworkTest, AMultiLayerPerceptronIsWhatItSays) {
  const ActorCriticSpec spec = Spec("hidden: 8 hidden: 5", {4});
  const std::unique_ptr<ActorCriticNetwork> network = Make(spec);
  const std::vector<at::Tensor>& p = network->parameters().views();
  ASSERT_EQ(p.size(), 8u);
  const at::Tensor x = Observations(spec, false);
  const at::Tensor h = (((x.matmul(p[0].t()) + p[1]).tanh()).matmul(p[2].t()) + p[3]).tanh();
  const ActorCriticNetwork::Output output = network->Forward(x);
  EXPECT_TRUE(at::allclose(output.policy, h.matmul(p[4].t()) + p[5], 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(output.value, (h.matmul(p[6].t()) + p[7]).squeeze(1), 1e-5, 1e-6));
}

TEST(ActorCriticNetworkTest, BeginsOrthogonalWithASmallPolicyAndNoBias) {
  const std::unique_ptr<ActorCriticNetwork> network = Make(Spec("hidden: 8", {4}, true));
  const std::vector<at::Tensor>& p = network->parameters().views();
  EXPECT_TRUE(at::allclose(p[0].t().matmul(p[0]), at::eye(4) * 2, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(p[2].matmul(p[2].t()), at::eye(3) * 1e-4, 1e-4, 1e-8));
  EXPECT_NEAR(p[5].norm().item<double>(), 1, 1e-5);  // the value's head
  for (const size_t zero : {1, 3, 4, 6}) EXPECT_EQ(p[zero].abs().sum().item<double>(), 0) << zero;
}

TEST(ActorCriticNetworkTest, ANetworkOfThePolicyAloneHasTheSameFirstParameters) {
  for (const std::string& network : {"hidden: 8", "hidden: 8 shared: false"}) {
    const ActorCriticSpec spec = Spec(network, {4}, true);
    const std::unique_ptr<ActorCriticNetwork> both = Make(spec), policy = Make(spec, false);
    const std::vector<NamedTensor> published = both->PolicyTensors("n"), loaded = policy->PolicyTensors("n");
    ASSERT_EQ(published.size(), loaded.size());
    for (size_t i = 0; i < loaded.size(); ++i) {
      EXPECT_EQ(published[i].name, loaded[i].name);
      at::Tensor(loaded[i].tensor).copy_(published[i].tensor);
    }
    const at::Tensor x = Observations(spec, false);
    EXPECT_TRUE(both->Forward(x).policy.equal(policy->Forward(x).policy));
    EXPECT_FALSE(policy->Forward(x).value.defined());
  }
}

TEST(ActorCriticNetworkTest, RefusesObservationsThatATorsoDoesNotTake) {
  const absl::Status status = ActorCriticNetwork::Create(Spec("torso: NATURE", {4, 10, 10}), true, at::kCPU).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("NATURE needs observations of [planes, height, width] with at least 36 x 36, "
                                          "got [4, 10, 10]"));
}

}  // namespace
}  // namespace headrace
