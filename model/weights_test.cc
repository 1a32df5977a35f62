#include "model/weights.h"

#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/randn.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "common/safetensors.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

std::string LoadError(const std::string& file, const std::vector<NamedTensor>& tensors) {
  const absl::Status status = LoadTensors(file, tensors);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(WeightsTest, TensorsOfEveryKindComeBackToTheBit) {
  const at::Tensor matrix = at::randn({3, 4});
  const std::vector<NamedTensor> saved = {{"a/weight", matrix},
                                          {"a/strided", matrix.t()},
                                          {"scalar", at::tensor(2.5f)},
                                          {"empty", at::zeros({0, 3})},
                                          {"bytes", at::tensor({1, 255}, at::kByte)},
                                          {"count", at::tensor({int64_t{1} << 40}, at::kLong)},
                                          {"double", at::randn({2}, at::kDouble)},
                                          {"half", at::randn({2}).to(at::kBFloat16)}};
  const std::string file = *SaveTensors(saved, {{"env_steps", "1000"}});
  EXPECT_EQ(ReadSafetensors(file)->metadata.at("env_steps"), "1000");

  std::vector<NamedTensor> loaded;
  for (const NamedTensor& named : saved) loaded.insert(loaded.begin(), {named.name, at::zeros_like(named.tensor)});
  ASSERT_TRUE(LoadTensors(file, loaded).ok());
  for (size_t i = 0; i < saved.size(); ++i) {
    EXPECT_TRUE(at::equal(saved[i].tensor, loaded[saved.size() - 1 - i].tensor)) << saved[i].name;
  }
}

TEST(WeightsTest, WritesIntoViews) {
  const at::Tensor flat = at::zeros({8});
  const std::string file = *SaveTensors({{"b", at::ones({4})}}, {});
  ASSERT_TRUE(LoadTensors(file, {{"b", flat.narrow(0, 2, 4)}}).ok());
  EXPECT_TRUE(at::equal(flat, at::tensor({0.0f, 0.0f, 1.0f, 1.0f, 1.0f, 1.0f, 0.0f, 0.0f})));
}

TEST(WeightsTest, NamesWhatDoesNotFitAndWritesNothing) {
  const std::string file = *SaveTensors({{"a", at::ones({2})}, {"w", at::ones({17, 256})}}, {});
  const at::Tensor a = at::zeros({2});
  EXPECT_EQ(LoadError(file, {{"a", a}, {"w", at::zeros({3, 256})}}),
            "tensor w: expected F32 [3, 256], got F32 [17, 256]");
  EXPECT_EQ(LoadError(file, {{"a", a}, {"w", at::zeros({17, 256}, at::kDouble)}}),
            "tensor w: expected F64 [17, 256], got F32 [17, 256]");
  EXPECT_EQ(LoadError(file, {{"a", a}, {"w", at::zeros({17, 256})}, {"b", a}}), "tensor b is missing");
  EXPECT_EQ(LoadError(file, {{"a", a}}), "tensor w is not expected here");
  EXPECT_EQ(a.abs().sum().item<float>(), 0);
}

TEST(WeightsTest, RefusesBytesThatAreNoSuchFile) {
  const std::string file = *SaveTensors({{"a", at::ones({2})}}, {});
  const at::Tensor a = at::zeros({2});
  EXPECT_FALSE(LoadError("", {{"a", a}}).empty());
  EXPECT_FALSE(LoadError(file.substr(0, file.size() - 1), {{"a", a}}).empty());
}

TEST(WeightsTest, RefusesToSaveWhatTheFormatDoesNotKnow) {
  EXPECT_EQ(SaveTensors({{"a", at::zeros({2}, at::kComplexFloat)}}, {}).status().message(),
            "tensor a has a type that is not saved: ComplexFloat");
}

}  // namespace
}  // namespace headrace
