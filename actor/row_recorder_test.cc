#include "actor/row_recorder.h"

#include <array>
#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

struct TestColumn {
  std::string name;
  v1::DataType type;
  std::vector<uint32_t> shape = {};
};

v1::Signature MakeSignature(const std::vector<TestColumn>& columns) {
  v1::Signature signature;
  for (const TestColumn& column : columns) {
    v1::Column& added = *signature.add_columns();
    added.set_name(column.name);
    added.set_data_type(column.type);
    added.mutable_shape()->Add(column.shape.begin(), column.shape.end());
  }
  return signature;
}

template <typename T>
T At(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

const std::array<float, 3> kObservation = {1, 2, 3};
const std::array<float, 2> kAction = {-1, 1};

StepValues Values() {
  return {.observation = reinterpret_cast<const std::byte*>(kObservation.data()),
          .action = reinterpret_cast<const std::byte*>(kAction.data()),
          .reward = -0.5f,
          .terminated = true,
          .truncated = false,
          .behaviour_log_prob = -1.25f,
          .policy_version = (uint64_t{2} << 48) + 7};
}

TEST(RowRecorderTest, ColumnsComeInTheOrderOfTheSignature) {
  const auto recorder = RowRecorder::Create(MakeSignature({{"policy_version", v1::INT64},
                                                           {"truncated", v1::UINT8},
                                                           {"terminated", v1::UINT8},
                                                           {"behaviour_log_prob", v1::FLOAT32},
                                                           {"reward", v1::FLOAT32},
                                                           {"action", v1::FLOAT32, {2}},
                                                           {"observation", v1::FLOAT32, {3}}}),
                                            sizeof(kObservation));
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  const std::span<const std::byte* const> row = (*recorder)->Row(Values());
  ASSERT_EQ(row.size(), 7);
  EXPECT_EQ(At<int64_t>(row[0]), (int64_t{2} << 48) + 7);
  EXPECT_EQ(At<uint8_t>(row[1]), 0);
  EXPECT_EQ(At<uint8_t>(row[2]), 1);
  EXPECT_EQ(At<float>(row[3]), -1.25f);
  EXPECT_EQ(At<float>(row[4]), -0.5f);
  EXPECT_EQ((At<std::array<float, 2>>(row[5])), kAction);
  EXPECT_EQ((At<std::array<float, 3>>(row[6])), kObservation);
}

TEST(RowRecorderTest, AFinalRowHoldsTheObservationAndZeros) {
  const auto recorder = RowRecorder::Create(MakeSignature({{"observation", v1::FLOAT32, {3}},
                                                           {"action", v1::FLOAT32, {2}},
                                                           {"reward", v1::FLOAT32},
                                                           {"policy_version", v1::INT64}}),
                                            sizeof(kObservation));
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  (*recorder)->Row(Values());
  const std::span<const std::byte* const> row = (*recorder)->ObservationRow(Values().observation);
  EXPECT_EQ((At<std::array<float, 3>>(row[0])), kObservation);
  EXPECT_EQ((At<std::array<float, 2>>(row[1])), (std::array<float, 2>{0, 0}));
  EXPECT_EQ(At<float>(row[2]), 0);
  EXPECT_EQ(At<int64_t>(row[3]), 0);
}

TEST(RowRecorderTest, StepsHoldTheRecurrentStateAndFinalRowsZeros) {
  const auto recorder = RowRecorder::Create(
      MakeSignature({{"observation", v1::FLOAT32, {3}}, {"recurrent_state", v1::FLOAT32, {4}}}), sizeof(kObservation));
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  const std::array<float, 4> state = {1, 2, 3, 4};
  StepValues values = Values();
  values.recurrent_state = reinterpret_cast<const std::byte*>(state.data());
  EXPECT_EQ((At<std::array<float, 4>>((*recorder)->Row(values)[1])), state);
  EXPECT_EQ((At<std::array<float, 4>>((*recorder)->ObservationRow(values.observation)[1])), (std::array<float, 4>{}));
}

TEST(RowRecorderTest, ImagesAreColumnsLikeOthers) {
  const auto recorder = RowRecorder::Create(
      MakeSignature({{"observation", v1::UINT8, {84, 84}}, {"action", v1::INT32}, {"reward", v1::FLOAT32}}), 84 * 84);
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  std::vector<std::byte> image(84 * 84, std::byte{200});
  EXPECT_EQ((*recorder)->ObservationRow(image.data())[0], image.data());
}

TEST(RowRecorderTest, OfAStackTheNewestFrameIsRecorded) {
  const auto recorder =
      RowRecorder::Create(MakeSignature({{"observation", v1::UINT8, {2, 3}}, {"reward", v1::FLOAT32}}), 3 * 6);
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  const std::vector<std::byte> stack(3 * 6);
  StepValues values = Values();
  values.observation = stack.data();
  EXPECT_EQ((*recorder)->Row(values)[0], stack.data() + 12);
  EXPECT_EQ((*recorder)->ObservationRow(stack.data())[0], stack.data() + 12);
}

TEST(RowRecorderTest, ObservationsThatAreNoStackOfWhatIsRecordedAreRefused) {
  for (const size_t bytes : {4, 16}) {
    const absl::Status status = RowRecorder::Create(MakeSignature({{"observation", v1::FLOAT32, {3}}}), bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected observations of 12 bytes, or stacks of such"));
  }
}

TEST(RowRecorderTest, ColumnsThatActorsDoNotFillAreRefusedByName) {
  const absl::Status unknown =
      RowRecorder::Create(MakeSignature({{"observation", v1::FLOAT32, {3}}, {"cost", v1::FLOAT32}}), 12).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("column cost"));
}

TEST(RowRecorderTest, ColumnsOfAnotherTypeOrSizeAreRefused) {
  for (const TestColumn& column : {TestColumn{"reward", v1::FLOAT64}, TestColumn{"reward", v1::FLOAT32, {2}},
                                   TestColumn{"terminated", v1::INT32}, TestColumn{"policy_version", v1::INT32}}) {
    const absl::Status status = RowRecorder::Create(MakeSignature({column}), 12).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << column.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected column " + column.name + " to be one"));
  }
}

}  // namespace
}  // namespace headrace
