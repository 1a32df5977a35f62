#include "replay/row_layout.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

v1::Signature OneColumn(v1::DataType type, const std::vector<uint32_t>& shape) {
  v1::Signature signature;
  v1::Column& column = *signature.add_columns();
  column.set_name("c");
  column.set_data_type(type);
  for (const uint32_t dimension : shape) column.add_shape(dimension);
  return signature;
}

TEST(RowLayoutTest, PacksColumnsBehindTheLink) {
  const RowLayout layout = *RowLayout::Create(TestSignature());
  ASSERT_EQ(layout.columns().size(), 4u);
  // The link takes 4 bytes, then 8, 4, 8 and 1.
  EXPECT_EQ(layout.columns()[0].offset, 4u);
  EXPECT_EQ(layout.columns()[1].offset, 12u);
  EXPECT_EQ(layout.columns()[2].offset, 16u);
  EXPECT_EQ(layout.columns()[3].offset, 24u);
  EXPECT_EQ(layout.payload_bytes(), 21u);
  EXPECT_EQ(layout.stride(), 28u);
  EXPECT_EQ(layout.Find("reward"), 2);
  EXPECT_EQ(layout.Find("cost"), -1);
}

TEST(RowLayoutTest, RefusesSignaturesThatMakeNoRow) {
  EXPECT_FALSE(RowLayout::Create(v1::Signature()).ok());
  EXPECT_FALSE(RowLayout::Create(OneColumn(v1::DATA_TYPE_UNSPECIFIED, {})).ok());
  EXPECT_FALSE(RowLayout::Create(OneColumn(v1::FLOAT32, {3, 0})).ok());
  EXPECT_FALSE(RowLayout::Create(OneColumn(v1::UINT8, {(16 << 20) + 1})).ok());
  EXPECT_TRUE(RowLayout::Create(OneColumn(v1::UINT8, {16 << 20})).ok());
  // 2^32 times 2^32 bytes and 4 more dimensions of 2 would be 16 again if the product wrapped around.
  EXPECT_FALSE(RowLayout::Create(OneColumn(v1::UINT8, {1u << 31, 1u << 31, 4, 1})).ok());
  EXPECT_FALSE(RowLayout::Create(OneColumn(v1::UINT8, {0xaaaaaaabu, 0x80000001u, 3u, 0xfffffff1u})).ok());
  v1::Signature twice = TestSignature();
  *twice.add_columns() = twice.columns(0);
  EXPECT_THAT(RowLayout::Create(twice).status().message(), HasSubstr("observation stands twice"));
  v1::Signature wide = OneColumn(v1::UINT8, {16 << 20});
  *wide.add_columns() = wide.columns(0);
  wide.mutable_columns(1)->set_name("d");
  EXPECT_THAT(RowLayout::Create(wide).status().message(), HasSubstr("rows of at most"));
}

TEST(RowLayoutTest, NamesWhatDiffersBetweenSignatures) {
  EXPECT_TRUE(CheckSameSignature(TestSignature(), TestSignature()).ok());
  v1::Signature other = TestSignature();
  other.mutable_columns(0)->set_shape(0, 3);
  const absl::Status status = CheckSameSignature(TestSignature(), other);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("observation FLOAT32 [2]"));
  EXPECT_THAT(status.message(), HasSubstr("observation FLOAT32 [3]"));
}

template <typename T>
bool Finite(std::vector<T> values, v1::DataType type) {
  return AllFinite(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(T), type);
}

TEST(AllFiniteTest, FindsInfinitiesAndNaNsAnywhere) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (size_t position = 0; position < 40; ++position) {
    std::vector<float> floats(40, std::numeric_limits<float>::max());
    std::vector<double> doubles(40, -std::numeric_limits<double>::max());
    std::vector<uint16_t> bfloats(40, 0x7f7f);  // the largest
    EXPECT_TRUE(Finite(floats, v1::FLOAT32));
    EXPECT_TRUE(Finite(doubles, v1::FLOAT64));
    EXPECT_TRUE(Finite(bfloats, v1::BFLOAT16));
    floats[position] = position % 2 == 0 ? -kInfinity : NAN;
    doubles[position] = position % 2 == 0 ? -kInfinity : NAN;
    bfloats[position] = position % 2 == 0 ? 0xff80 : 0x7fc0;
    EXPECT_FALSE(Finite(floats, v1::FLOAT32));
    EXPECT_FALSE(Finite(doubles, v1::FLOAT64));
    EXPECT_FALSE(Finite(bfloats, v1::BFLOAT16));
    EXPECT_TRUE(Finite(floats, v1::INT32)) << "any bits are an integer";
    EXPECT_TRUE(Finite(floats, v1::OPAQUE));
  }
}

}  // namespace
}  // namespace headrace
