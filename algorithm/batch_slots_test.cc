#include "algorithm/batch_slots.h"

#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kBatch = 5;  // odd, so that nothing is aligned by accident

Experience MakeExperience() {
  Experience experience;
  experience.batch_size = kBatch;
  const auto add = [&](const std::string& name, v1::DataType type, std::vector<uint32_t> shape, uint32_t rows) {
    v1::Column& column = *experience.signature.add_columns();
    column.set_name(name);
    column.set_data_type(type);
    column.mutable_shape()->Add(shape.begin(), shape.end());
    v1::ColumnSlice& slice = experience.slices.emplace_back();
    slice.set_column(name);
    slice.set_rows(rows);
  };
  add("observation", v1::FLOAT32, {3, 7}, 2);
  add("terminated", v1::UINT8, {}, 1);
  add("policy_version", v1::INT64, {}, 1);
  add("pixels", v1::UINT8, {9}, 1);
  return experience;
}

TEST(BatchSlotsTest, EverySliceHasItsTensorInTheTypeAndShapeOfItsColumn) {
  const auto slots = BatchSlots::Create(MakeExperience(), 3, at::kCPU);
  ASSERT_TRUE(slots.ok()) << slots.status();
  const std::vector<std::vector<std::span<std::byte>>> blocks = (*slots)->Blocks();
  ASSERT_EQ(blocks.size(), 3);
  for (size_t slot = 0; slot < 3; ++slot) {
    const Batch& batch = (*slots)->OnDevice(slot);
    ASSERT_EQ(batch.slices.size(), 4);
    EXPECT_EQ(batch.slices[0].sizes(), (std::vector<int64_t>{kBatch, 2, 3, 7}));
    EXPECT_EQ(batch.slices[0].scalar_type(), at::kFloat);
    EXPECT_EQ(batch.slices[1].sizes(), (std::vector<int64_t>{kBatch, 1}));
    EXPECT_EQ(batch.slices[1].scalar_type(), at::kByte);
    EXPECT_EQ(batch.slices[2].scalar_type(), at::kLong);
    EXPECT_EQ(blocks[slot][0].size(), kBatch * 2 * 3 * 7 * sizeof(float));
    EXPECT_EQ(blocks[slot][1].size(), kBatch);
    EXPECT_EQ(blocks[slot][2].size(), kBatch * sizeof(int64_t));
    EXPECT_EQ(blocks[slot][3].size(), kBatch * 9);
  }
}

TEST(BatchSlotsTest, AStackMakesTheFirstDimensionLonger) {
  Experience experience = MakeExperience();
  experience.slices[0].set_stack(4);
  const auto slots = BatchSlots::Create(experience, 1, at::kCPU);
  ASSERT_TRUE(slots.ok()) << slots.status();
  EXPECT_EQ((*slots)->OnDevice(0).slices[0].sizes(), (std::vector<int64_t>{kBatch, 2, 12, 7}));
  EXPECT_EQ((*slots)->Blocks()[0][0].size(), kBatch * 2 * 12 * 7 * sizeof(float));
}

TEST(BatchSlotsTest, BlocksAreAlignedTo64Bytes) {
  const auto slots = BatchSlots::Create(MakeExperience(), 4, at::kCPU);
  ASSERT_TRUE(slots.ok()) << slots.status();
  for (const auto& slot : (*slots)->Blocks()) {
    for (const std::span<std::byte> block : slot) EXPECT_EQ(reinterpret_cast<uintptr_t>(block.data()) % 64, 0);
  }
}

// On a CPU nothing is copied: what arrives in the block is what Update sees.
TEST(BatchSlotsTest, BlocksAreTheTensorsMemory) {
  const auto slots = BatchSlots::Create(MakeExperience(), 2, at::kCPU);
  ASSERT_TRUE(slots.ok()) << slots.status();
  const auto blocks = (*slots)->Blocks();
  blocks[1][1][4] = std::byte{7};
  EXPECT_EQ((*slots)->OnDevice(1).slices[1].data_ptr<uint8_t>()[4], 7);
  EXPECT_EQ((*slots)->OnHost(1, 1).data_ptr(), blocks[1][1].data());
  (*slots)->Release(1);
}

TEST(BatchSlotsTest, WhatTensorsCannotHoldIsRefused) {
  Experience opaque = MakeExperience();
  opaque.signature.mutable_columns(3)->set_data_type(v1::OPAQUE);
  absl::Status status = BatchSlots::Create(opaque, 1, at::kCPU).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("OPAQUE"));

  Experience unknown = MakeExperience();
  unknown.slices[0].set_column("next_observation");
  status = BatchSlots::Create(unknown, 1, at::kCPU).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no column next_observation"));
}

TEST(BatchSlotsTest, MemoryThatThereIsNotIsAStatus) {
  Experience huge = MakeExperience();
  huge.batch_size = 1u << 31;
  huge.slices[0].set_rows(1u << 31);
  const absl::Status status = BatchSlots::Create(huge, 1, at::kCPU).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("memory for 1 batches"));
}

}  // namespace
}  // namespace headrace
