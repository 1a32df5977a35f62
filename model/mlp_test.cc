#include "model/mlp.h"

#include <string>
#include <tuple>

#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/ones_like.h"
#include "ATen/ops/randn.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "model/initialization.h"

namespace headrace {
namespace {

// Members, outputs, activation.
class MlpGradientTest : public testing::TestWithParam<std::tuple<int64_t, int64_t, Activation>> {
 protected:
  MlpGradientTest() {
    const auto [members, outputs, activation] = GetParam();
    spec_ = {.inputs = 3, .hidden = {5, 7}, .outputs = outputs, .members = members, .activation = activation};
    parameters_ = MlpParameters::Zeros(spec_, at::kCPU);
    RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kInitialization);
    InitializeFanInUniform(parameters_, random);
  }

  // Derivatives of sum(output_gradient * f(x)) over the first rows of x, by autograd.
  void RunAutograd(const at::Tensor& x, const at::Tensor& output_gradient) {
    for (const LinearParameters& layer : parameters_.layers) {
      differentiable_.layers.push_back(
          {layer.weight.detach().clone().requires_grad_(), layer.bias.detach().clone().requires_grad_()});
    }
    differentiable_.spec = spec_;
    x_ = x.clone().requires_grad_();
    EvaluateMlp(differentiable_, x_).narrow(1, 0, output_gradient.size(1)).mul(output_gradient).sum().backward();
  }

  MlpSpec spec_;
  MlpParameters parameters_;
  MlpParameters differentiable_;
  at::Tensor x_;
};

TEST_P(MlpGradientTest, ForwardEqualsPlainTensorOperations) {
  MlpPass pass;
  for (const int64_t rows : {4, 4, 1, 9}) {
    const at::Tensor x = at::randn({rows, 3});
    EXPECT_TRUE(at::allclose(pass.Forward(parameters_, x), EvaluateMlp(parameters_, x), 1e-5, 1e-6));
  }
}

TEST_P(MlpGradientTest, ParameterGradientsEqualAutograd) {
  const at::Tensor x = at::randn({6, 3});
  for (const int64_t rows : {6, 4}) {  // a loss of all rows, and of the first four
    differentiable_.layers.clear();
    const at::Tensor output_gradient = at::randn({spec_.members, rows, spec_.outputs});
    RunAutograd(x, output_gradient);
    MlpPass pass;
    MlpParameters gradients = MlpParameters::Zeros(spec_, at::kCPU);
    pass.Forward(parameters_, x);
    pass.BackwardParameters(parameters_, output_gradient, gradients);
    for (size_t i = 0; i < gradients.layers.size(); ++i) {
      const LinearParameters& expected = differentiable_.layers[i];
      EXPECT_TRUE(at::allclose(gradients.layers[i].weight, expected.weight.grad(), 1e-5, 1e-6)) << i;
      EXPECT_TRUE(at::allclose(gradients.layers[i].bias, expected.bias.grad(), 1e-5, 1e-6)) << i;
    }
  }
}

TEST_P(MlpGradientTest, InputGradientsEqualAutogradSummedOverTheMembers) {
  const at::Tensor x = at::randn({6, 3});
  const at::Tensor output_gradient = at::randn({spec_.members, 6, spec_.outputs});
  RunAutograd(x, output_gradient);
  MlpPass pass;
  pass.Forward(parameters_, x);
  const at::Tensor& last_two = pass.BackwardInput(parameters_, output_gradient, 1, 2);
  EXPECT_TRUE(at::allclose(last_two, x_.grad().narrow(1, 1, 2), 1e-5, 1e-6));
}

INSTANTIATE_TEST_SUITE_P(All, MlpGradientTest,
                         testing::Combine(testing::Values(1, 2, 3), testing::Values(1, 4),
                                          testing::Values(Activation::kRelu, Activation::kTanh)));

TEST(MlpTest, NetworkWithoutHiddenLayersIsLinear) {
  MlpParameters parameters = MlpParameters::Zeros({.inputs = 2, .outputs = 1}, at::kCPU);
  parameters.layers[0].weight.fill_(3);
  parameters.layers[0].bias.fill_(1);
  MlpPass pass;
  EXPECT_TRUE(at::equal(pass.Forward(parameters, at::ones({1, 2})), at::ones({1, 1, 1}).mul(7)));
  EXPECT_TRUE(at::equal(pass.BackwardInput(parameters, at::ones({1, 1, 1}), 0, 2), at::ones({1, 2}).mul(3)));
}

TEST(MlpTest, ParametersAreViewsOfTheFlatTensor) {
  MlpParameters parameters = MlpParameters::Zeros({.inputs = 3, .hidden = {5}, .outputs = 2, .members = 2}, at::kCPU);
  parameters.flat.fill_(1);
  int64_t elements = 0;
  for (const NamedTensor& named : parameters.Named("critics")) {
    EXPECT_TRUE(at::equal(named.tensor, at::ones_like(named.tensor))) << named.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(named.tensor.const_data_ptr()) % 64, 0u) << named.name;
    elements += named.tensor.numel();
  }
  EXPECT_EQ(elements, 2 * (3 * 5 + 5 + 5 * 2 + 2));
}

TEST(MlpTest, NamesOfASingleNetworkHaveNoMembersDimension) {
  const MlpParameters single = MlpParameters::Zeros({.inputs = 3, .hidden = {5}, .outputs = 2}, at::kCPU);
  EXPECT_EQ(single.Named("actor")[0].name, "actor/layer0/weight");
  EXPECT_EQ(single.Named("actor")[0].tensor.sizes(), at::IntArrayRef({3, 5}));
  EXPECT_EQ(single.Named("actor")[3].name, "actor/layer1/bias");
  EXPECT_EQ(single.Named("actor")[3].tensor.sizes(), at::IntArrayRef({2}));
  const MlpParameters twins = MlpParameters::Zeros({.inputs = 3, .outputs = 2, .members = 2}, at::kCPU);
  EXPECT_EQ(twins.Named("critics")[0].tensor.sizes(), at::IntArrayRef({2, 3, 2}));
  EXPECT_EQ(twins.Named("critics")[1].tensor.sizes(), at::IntArrayRef({2, 2}));
}

}  // namespace
}  // namespace headrace
