#include "replay/sample_plan.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

class SamplePlanTest : public testing::Test {
 protected:
  v1::ColumnSlice& Add(const std::string& column, uint32_t rows) {
    v1::ColumnSlice& slice = *open_.add_slices();
    slice.set_column(column);
    slice.set_rows(rows);
    return slice;
  }
  std::string Refusal() const {
    const absl::Status status = PlanSample(open_, *table_).status();
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  }

  const std::unique_ptr<Table> table_ = MakeTestTable(TestSpec());  // of items of up to 4 rows
  v1::SampleOpen open_;
};

TEST_F(SamplePlanTest, NeedsAsManyRowsAsItsSlicesReachOver) {
  Add("observation", 2);
  v1::ColumnSlice& reward = Add("reward", 2);
  reward.set_first_row(1);
  reward.set_stride(2);
  const SamplePlan plan = *PlanSample(open_, *table_);
  EXPECT_EQ(plan.slices.size(), 2u);
  EXPECT_EQ(plan.rows_needed, 4u);
  EXPECT_EQ(plan.item_bytes, 2u * 8 + 2 * 8);
}

TEST_F(SamplePlanTest, RefusesWhatItemsDoNotHave) {
  EXPECT_THAT(Refusal(), HasSubstr("expected 1 to 1024 slices, got 0"));
  v1::ColumnSlice& slice = Add("reward", 5);
  EXPECT_THAT(Refusal(), HasSubstr("expected rows within items of 4 rows, got rows 0 to 5"));
  slice.set_rows(UINT32_MAX);
  slice.set_stride(UINT32_MAX);
  EXPECT_THAT(Refusal(), HasSubstr("expected rows within items of 4 rows"));
  slice.set_rows(1);
  slice.set_stack(2);
  EXPECT_THAT(Refusal(), HasSubstr("expected stacks of up to 1 rows"));
  slice.set_column("velocity");
  EXPECT_EQ(Refusal(), "table \"t\" has no column \"velocity\"");
}

// The sum of their sizes would wrap around.
TEST_F(SamplePlanTest, RefusesMoreSlicesThanAnybodyNeeds) {
  for (int i = 0; i < kMaxSlices; ++i) Add("reward", 4);
  EXPECT_TRUE(PlanSample(open_, *table_).ok());
  Add("reward", 4);
  EXPECT_THAT(Refusal(), HasSubstr("expected 1 to 1024 slices, got 1025"));
}

TEST_F(SamplePlanTest, RefusesItemsThatAreLargerThanAMessage) {
  v1::TableSpec spec = TestSpec();
  v1::Column& column = *spec.mutable_signature()->add_columns();
  column.set_name("map");
  column.set_data_type(v1::UINT8);
  column.add_shape(1 << 20);
  spec.set_max_bytes(64 << 20);
  const std::unique_ptr<Table> table = MakeTestTable(spec);
  for (int i = 0; i < 8; ++i) Add("map", 4);
  EXPECT_EQ(PlanSample(open_, *table)->item_bytes, kMaxItemBytes);
  Add("terminated", 1);
  EXPECT_THAT(PlanSample(open_, *table).status().message(),
              HasSubstr("expected slices of up to 33554432 bytes an item, got 33554433 and more"));
}

}  // namespace
}  // namespace headrace
