#include "actor/lane_tensors.h"

#include <array>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

v1::Signature Observed(v1::DataType type) {
  v1::Signature signature;
  signature.add_columns()->set_name("action");
  signature.add_columns()->set_name("observation");
  signature.mutable_columns(1)->set_data_type(type);
  return signature;
}

TEST(ObservationTensorTest, DoublesBecomeFloats) {
  absl::StatusOr<at::Tensor> tensor =
      MakeObservationTensor({.data_type = v1::FLOAT64, .shape = {3}}, Observed(v1::FLOAT32), 2);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->sizes(), (std::vector<int64_t>{2, 3}));
  ASSERT_EQ(tensor->scalar_type(), at::kFloat);
  const std::array<double, 6> native = {0.1, -2, 1e300, 4, 5, 6.5};
  CopyObservations(std::as_bytes(std::span(native)), v1::FLOAT64, *tensor);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(tensor->data_ptr<float>()[i], static_cast<float>(native[i]));
}

TEST(ObservationTensorTest, ImagesAreCopiedByteForByte) {
  absl::StatusOr<at::Tensor> tensor =
      MakeObservationTensor({.data_type = v1::UINT8, .shape = {2, 2}}, Observed(v1::UINT8), 1);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->sizes(), (std::vector<int64_t>{1, 2, 2}));
  const std::array<uint8_t, 4> native = {0, 1, 254, 255};
  CopyObservations(std::as_bytes(std::span(native)), v1::UINT8, *tensor);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(tensor->data_ptr<uint8_t>()[i], native[i]);
}

TEST(ObservationTensorTest, DoublesStayDoublesWhereTheyAreRecordedAsSuch) {
  absl::StatusOr<at::Tensor> tensor =
      MakeObservationTensor({.data_type = v1::FLOAT64, .shape = {}}, Observed(v1::FLOAT64), 2);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  const std::array<double, 2> native = {0.1, 1e300};
  CopyObservations(std::as_bytes(std::span(native)), v1::FLOAT64, *tensor);
  EXPECT_EQ(tensor->data_ptr<double>()[0], 0.1);
  EXPECT_EQ(tensor->data_ptr<double>()[1], 1e300);
}

TEST(ObservationTensorTest, WhatCannotBeRecordedIsRefused) {
  const absl::Status widened =
      MakeObservationTensor({.data_type = v1::UINT8, .shape = {4}}, Observed(v1::FLOAT32), 1).status();
  EXPECT_EQ(widened.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(widened.message()), HasSubstr("UINT8 and cannot be recorded as FLOAT32"));
  // No policy takes it, and its bytes are no floats.
  const absl::Status integers =
      MakeObservationTensor({.data_type = v1::INT32, .shape = {4}}, Observed(v1::INT32), 1).status();
  EXPECT_EQ(integers.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(integers.message()), HasSubstr("INT32"));
  EXPECT_EQ(MakeObservationTensor({.data_type = v1::FLOAT32, .shape = {4}}, {}, 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(StepLanesTest, ContinuousAndDiscreteActionsReachTheirEnvironments) {
  for (const char* name : {"Pendulum-v1", "CartPole-v1"}) {
    const auto lanes = *VectorEnvironment::Create(name, {.lanes = 2});
    const at::Tensor actions = MakeActionTensor(lanes->facts().action, 2);
    ASSERT_TRUE(StepLanes(actions, *lanes).ok());
    EXPECT_EQ(lanes->steps()[1].episode_length, 1);
  }
}

// A user whose policy diverged used to be told that the configuration was wrong.
TEST(StepLanesTest, ActionsOfADivergedPolicyAreAFailure) {
  const auto lanes = *VectorEnvironment::Create("Pendulum-v1", {.lanes = 2});
  at::Tensor actions = MakeActionTensor(lanes->facts().action, 2);
  actions.fill_(std::numeric_limits<float>::quiet_NaN());
  const absl::Status status = StepLanes(actions, *lanes);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("action[0] of lane 0 of Pendulum-v1 is not a number"));
}

}  // namespace
}  // namespace headrace
