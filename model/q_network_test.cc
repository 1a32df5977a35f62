#include "model/q_network.h"

#include <cmath>
#include <string>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/randint.h"
#include "ATen/ops/randn.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

std::unique_ptr<QNetwork> Make(const std::string& options, std::vector<int64_t> observation) {
  QNetworkSpec spec = {.observation = std::move(observation), .actions = 3};
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(options, &spec.network));
  absl::StatusOr<std::unique_ptr<QNetwork>> network = QNetwork::Create(spec, at::kCPU);
  EXPECT_TRUE(network.ok()) << network.status();
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
  (*network)->Initialize(random);
  return *std::move(network);
}

TEST(QNetworkTest, IsATorsoWithALinearHead) {
  const std::unique_ptr<QNetwork> network = Make("hidden: 8 hidden: 5 activation: RELU", {4});
  const std::vector<at::Tensor>& p = network->parameters().views();
  ASSERT_EQ(p.size(), 6u);
  const at::Tensor x = at::randn({2, 4});
  const at::Tensor h = ((x.matmul(p[0].t()) + p[1]).relu().matmul(p[2].t()) + p[3]).relu();
  EXPECT_TRUE(at::allclose(network->Forward(x), h.matmul(p[4].t()) + p[5], 1e-5, 1e-6));
}

TEST(QNetworkTest, GivesAValueOfEveryActionFromPlanes) {
  const std::unique_ptr<QNetwork> network = Make("torso: MINATAR", {4, 10, 10});
  const FlatParameters::Recorded recorded = network->parameters().Record();
  const at::Tensor q = network->Forward(recorded.views, at::randint(2, {2, 4, 10, 10}, at::kByte));
  EXPECT_EQ(q.sizes(), at::IntArrayRef({2, 3}));
  EXPECT_EQ(recorded.Gradient(q.square().sum()).sizes(), network->parameters().flat().sizes());
}

TEST(QNetworkTest, BeginsUniformlyWithinOneOverTheRootOfTheInputs) {
  const std::unique_ptr<QNetwork> network = Make("torso: MINATAR", {4, 10, 10});
  const std::vector<NamedTensor> parameters = network->parameters().Named("q");
  // A filter has 4 x 3 x 3 inputs, the hidden layer 16 x 8 x 8, the head 128.
  const double inputs[] = {36, 36, 1024, 1024, 128, 128};
  ASSERT_EQ(parameters.size(), std::size(inputs));
  for (size_t i = 0; i < parameters.size(); ++i) {
    const double bound = 1 / std::sqrt(inputs[i]);
    const double largest = parameters[i].tensor.abs().max().item<double>();
    EXPECT_LE(largest, bound) << parameters[i].name;
    if (parameters[i].tensor.numel() > 100) EXPECT_GT(largest, 0.95 * bound) << parameters[i].name;
  }
}

TEST(QNetworkTest, RefusesObservationsThatATorsoDoesNotTake) {
  QNetworkSpec spec = {.observation = {4}, .actions = 3};
  spec.network.set_torso(v1::MINATAR);
  EXPECT_TRUE(absl::IsInvalidArgument(QNetwork::Create(spec, at::kCPU).status()));
}

}  // namespace
}  // namespace headrace
