#include "model/lstm.h"

#include <map>
#include <string>
#include <vector>

#include "ATen/TensorOperators.h"
#include "ATen/ops/allclose.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/zeros.h"
#include "gtest/gtest.h"
#include "tests/golden/golden.h"
#include "torch/csrc/autograd/autograd.h"

namespace headrace {
namespace {

constexpr int64_t kInputs = 3, kUnits = 4;

std::vector<at::Tensor> RandomParameters() {
  std::vector<at::Tensor> parameters;
  for (const ParameterShape& parameter : LstmParameters(kInputs, kUnits)) {
    parameters.push_back(at::randn(parameter.shape, at::kDouble));
  }
  return parameters;
}

TEST(LstmTest, OutputsAndDerivativesAreThoseOfPyTorch) {
  std::map<std::string, at::Tensor> golden = ReadGolden("tests/golden/lstm.textproto");
  const std::vector<std::string> names = {"input/weight", "recurrent/weight", "bias", "state"};
  std::vector<at::Tensor> inputs;
  for (const std::string& name : names) inputs.push_back(golden.at(name).clone().requires_grad_());
  const LstmOutput output = Lstm({inputs.data(), 3}, golden.at("x"), inputs[3], golden.at("ends"));
  EXPECT_TRUE(at::allclose(output.hidden, golden.at("hidden"), 1e-12, 1e-12));
  EXPECT_TRUE(at::allclose(output.state, golden.at("last"), 1e-12, 1e-12));

  const at::Tensor sum =
      (output.hidden * golden.at("hidden_weight")).sum() + (output.state * golden.at("last_weight")).sum();
  const std::vector<at::Tensor> gradients = torch::autograd::grad({sum}, inputs);
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_TRUE(at::allclose(gradients[i], golden.at("gradient/" + names[i]), 1e-12, 1e-12)) << names[i];
  }
}

TEST(LstmTest, RowByRowItIsWhatItIsInOne) {
  const std::vector<at::Tensor> parameters = RandomParameters();
  const at::Tensor x = at::randn({2, 5, kInputs}, at::kDouble);
  at::Tensor ends = at::zeros({2, 5}, at::kDouble);
  ends[1][2] = 1;
  at::Tensor state = at::randn({2, 2 * kUnits}, at::kDouble);
  const LstmOutput whole = Lstm(parameters, x, state, ends);
  for (int64_t t = 0; t < 5; ++t) {
    const LstmOutput step = Lstm(parameters, x.narrow(1, t, 1), state, {});
    EXPECT_TRUE(at::allclose(step.hidden, whole.hidden.narrow(1, t, 1), 1e-12, 1e-12)) << t;
    state = step.state;
    if (t == 2) state[1].zero_();
  }
  EXPECT_TRUE(at::allclose(state, whole.state, 1e-12, 1e-12));
}

TEST(LstmTest, AfterAnEndNothingIsLeftOfWhatWasBefore) {
  const std::vector<at::Tensor> parameters = RandomParameters();
  const at::Tensor x = at::randn({1, 4, kInputs}, at::kDouble);
  at::Tensor other = x.clone();
  other.narrow(1, 0, 2).normal_();
  at::Tensor ends = at::zeros({1, 4}, at::kDouble);
  ends[0][1] = 1;
  const LstmOutput a = Lstm(parameters, x, at::randn({1, 2 * kUnits}, at::kDouble), ends);
  const LstmOutput b = Lstm(parameters, other, at::randn({1, 2 * kUnits}, at::kDouble), ends);
  EXPECT_FALSE(at::equal(a.hidden.narrow(1, 1, 1), b.hidden.narrow(1, 1, 1)));
  EXPECT_TRUE(at::equal(a.hidden.narrow(1, 2, 2), b.hidden.narrow(1, 2, 2)));
  EXPECT_TRUE(at::equal(a.state, b.state));
}

}  // namespace
}  // namespace headrace
