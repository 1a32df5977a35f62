#include "common/safetensors.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// A file with this header, of its true length, and so many bytes of arrays.
std::string FileOf(const std::string& header, size_t data_bytes) {
  std::string file;
  for (size_t i = 0; i < 8; ++i) file.push_back(static_cast<char>(header.size() >> (8 * i)));
  return file + header + std::string(data_bytes, 'd');
}

std::string Refusal(std::string_view file) {
  const absl::StatusOr<SafetensorsContents> contents = ReadSafetensors(file);
  EXPECT_EQ(contents.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(contents.status().message());
}

constexpr char kF32[] = "\"dtype\":\"F32\",\"shape\":[2]";

std::string ValidFile() {
  return *WriteSafetensors({{"actor/bias", SafetensorsType::kU8, {3}, "abc"},
                            {"actor/weight", SafetensorsType::kF32, {2, 3}, "012345678901234567890123"},
                            {"step", SafetensorsType::kI64, {}, "01234567"}},
                           {{"run_id", "r1"}, {"note", "\"quoted\"\n"}});
}

TEST(SafetensorsTest, ReadsWhatItWroteWithoutCopying) {
  const std::string file = ValidFile();
  const absl::StatusOr<SafetensorsContents> contents = ReadSafetensors(file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->metadata, ElementsAre(Pair("note", "\"quoted\"\n"), Pair("run_id", "r1")));
  ASSERT_EQ(contents->tensors.size(), 3u);
  const SafetensorsTensor* weight = contents->Find("actor/weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->type, SafetensorsType::kF32);
  EXPECT_THAT(weight->shape, ElementsAre(2, 3));
  EXPECT_EQ(weight->bytes, "012345678901234567890123");
  EXPECT_GE(weight->bytes.data(), file.data());
  EXPECT_LE(weight->bytes.data() + weight->bytes.size(), file.data() + file.size());
  EXPECT_THAT(contents->Find("step")->shape, IsEmpty());
  EXPECT_EQ(contents->Find("actor/bias")->bytes, "abc");
  EXPECT_EQ(contents->Find("actor"), nullptr);
}

TEST(SafetensorsTest, PlacesEveryTensorAtAMultipleOfItsElementSize) {
  const std::string file = ValidFile();
  const absl::StatusOr<SafetensorsContents> contents = ReadSafetensors(file);
  for (const SafetensorsTensor& tensor : contents->tensors) {
    EXPECT_EQ((tensor.bytes.data() - file.data()) % ElementSize(tensor.type), 0u) << tensor.name;
  }
  EXPECT_EQ((contents->tensors.front().bytes.data() - file.data()) % 64, 0);
}

TEST(SafetensorsTest, HoldsNothingAndEmptyTensors) {
  EXPECT_THAT(ReadSafetensors(*WriteSafetensors({}, {}))->tensors, IsEmpty());
  const std::string file = *WriteSafetensors({{"a", SafetensorsType::kF32, {0, 5}, ""},
                                              {"b", SafetensorsType::kF32, {1}, "1234"},
                                              {"c", SafetensorsType::kF32, {2, 0}, ""}},
                                             {});
  const absl::StatusOr<SafetensorsContents> contents = ReadSafetensors(file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->Find("a")->shape, ElementsAre(0, 5));
  EXPECT_EQ(contents->Find("b")->bytes, "1234");
}

TEST(SafetensorsTest, RefusesToWriteWhatCannotBeRead) {
  const auto code = [](const std::vector<SafetensorsTensor>& tensors) {
    return WriteSafetensors(tensors, {}).status().code();
  };
  EXPECT_EQ(code({{"a", SafetensorsType::kF32, {2}, "1234"}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", SafetensorsType::kU8, {1}, "1"}, {"a", SafetensorsType::kU8, {1}, "2"}}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"__metadata__", SafetensorsType::kU8, {1}, "1"}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"\xff", SafetensorsType::kU8, {1}, "1"}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", SafetensorsType::kF64, {UINT64_MAX, 2}, "12"}}), absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsTest, RefusesHeadersThatDoNotFit) {
  EXPECT_THAT(Refusal(""), HasSubstr("has 0 bytes"));
  EXPECT_THAT(Refusal("1234567"), HasSubstr("has 7 bytes"));
  EXPECT_THAT(Refusal(std::string("\x10\0\0\0\0\0\0\0{}", 10)), HasSubstr("header of 16 bytes in a file of 10"));
  EXPECT_THAT(Refusal(std::string(8, '\xff')), HasSubstr("header of 18446744073709551615 bytes"));
}

TEST(SafetensorsTest, RefusesHeadersThatAreNoObject) {
  for (const std::string header : {"", "{", "[]", "null", "{\"a\":}", "{} x", "\xff", "{\"a\":1e999}"}) {
    EXPECT_THAT(Refusal(FileOf(header, 0)), HasSubstr("safetensors: the header is not a JSON object")) << header;
  }
  EXPECT_THAT(Refusal(FileOf(std::string(100000, '['), 0)), HasSubstr("not a JSON object"));
}

// Three hundred thousand: to compare each with all before it would take many minutes.
TEST(SafetensorsTest, LooksNamesUpWithoutGoingThroughAllOfThem) {
  std::string header = "{\"0\":{}";
  for (int i = 1; header.size() < 4 << 20; ++i) absl::StrAppend(&header, ",\"", i, "\":{}");
  EXPECT_THAT(Refusal(FileOf(header + "}", 0)), HasSubstr("and nothing else"));
}

// Each list took about a hundred bytes of memory.
TEST(SafetensorsTest, RefusesListsInLists) {
  EXPECT_THAT(Refusal(FileOf("{\"x\":{\"shape\":[[1]]}}", 0)), HasSubstr("lists in lists"));
  constexpr size_t kLists = (8 << 20) - 10;
  const std::string header = "{\"x\":" + std::string(kLists, '[') + std::string(kLists, ']') + "}";
  EXPECT_THAT(Refusal(FileOf(header, 0)), HasSubstr("lists in lists"));
}

TEST(SafetensorsTest, RefusesEntriesThatAreNotTensors) {
  const auto refusal = [](const std::string& entry) { return Refusal(FileOf("{\"a\":" + entry + "}", 8)); };
  EXPECT_THAT(refusal("1"), HasSubstr("expected dtype, shape and data_offsets of tensor \"a\""));
  EXPECT_THAT(refusal("{\"dtype\":\"F32\",\"shape\":[2]}"), HasSubstr("expected dtype"));
  EXPECT_THAT(refusal(absl::StrCat("{", kF32, ",\"data_offsets\":[0,8],\"x\":1}")), HasSubstr("nothing else"));
  EXPECT_THAT(refusal("{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}"),
              HasSubstr("dtype that is not known"));
  EXPECT_THAT(refusal("{\"dtype\":5,\"shape\":[2],\"data_offsets\":[0,8]}"), HasSubstr("dtype that is not known"));
  for (const std::string shape : {"2", "[-2]", "[2.0]", "[\"2\"]", "{}"}) {
    EXPECT_THAT(refusal("{\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":[0,8]}"), HasSubstr("shape"))
        << shape;
  }
  for (const std::string offsets : {"8", "[8]", "[0,8,8]", "[-8,0]", "[0,8.5]"}) {
    EXPECT_THAT(refusal(absl::StrCat("{", kF32, ",\"data_offsets\":", offsets, "}")), HasSubstr("data_offsets"))
        << offsets;
  }
  EXPECT_THAT(Refusal(FileOf("{\"__metadata__\":{\"a\":1}}", 0)), HasSubstr("not a string"));
  EXPECT_THAT(Refusal(FileOf("{\"__metadata__\":[]}", 0)), HasSubstr("not an object"));
}

TEST(SafetensorsTest, RefusesOffsetsThatDisagreeWithShapeOrFile) {
  const auto one = [](const std::string& shape, const std::string& offsets) {
    return Refusal(FileOf("{\"a\":{\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}", 8));
  };
  EXPECT_THAT(one("[3]", "[0,8]"), HasSubstr("its shape takes 12 bytes"));
  EXPECT_THAT(one("[2]", "[8,0]"), HasSubstr("data_offsets [8, 0]"));
  EXPECT_THAT(one("[4]", "[0,16]"), HasSubstr("ends at 16 of 8 bytes: the file is truncated"));
  EXPECT_THAT(one("[1]", "[0,4]"), HasSubstr("4 bytes after the last tensor"));
  EXPECT_THAT(one("[1]", "[4,8]"), HasSubstr("begins at 4, but the one before it ends at 0"));
  // 4 * 2^62 is 0 in 64 bits.
  EXPECT_THAT(one("[4611686018427387904]", "[0,0]"), HasSubstr("more than 2^64"));
  EXPECT_THAT(one("[2]", "[18446744073709551608,0]"), HasSubstr("data_offsets"));
}

TEST(SafetensorsTest, RefusesTensorsThatOverlapAndNamesUsedTwice) {
  const std::string a = absl::StrCat("{", kF32, ",\"data_offsets\":[0,8]}");
  EXPECT_THAT(Refusal(FileOf("{\"a\":" + a + ",\"b\":" + a + "}", 8)), HasSubstr("begins at 0, but the one before"));
  EXPECT_THAT(Refusal(FileOf("{\"a\":" + a + ",\"a\":" + a + "}", 8)), HasSubstr("has \"a\" twice"));
}

TEST(SafetensorsTest, RefusesEveryTruncation) {
  const std::string file = ValidFile();
  for (size_t size = 0; size < file.size(); ++size) Refusal(std::string_view(file).substr(0, size));
}

// A file with one wrong bit is refused, or differs in a name, a metadata string or a value, but in no type or shape.
TEST(SafetensorsTest, SurvivesEveryFlippedBit) {
  const std::string file = ValidFile();
  const absl::StatusOr<SafetensorsContents> original = ReadSafetensors(file);
  size_t refused = 0;
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const absl::StatusOr<SafetensorsContents> contents = ReadSafetensors(flipped);
    if (!contents.ok()) {
      EXPECT_EQ(contents.status().code(), absl::StatusCode::kInvalidArgument) << bit;
      ++refused;
      continue;
    }
    ASSERT_EQ(contents->tensors.size(), original->tensors.size()) << bit;
    for (size_t i = 0; i < contents->tensors.size(); ++i) {
      EXPECT_EQ(contents->tensors[i].type, original->tensors[i].type) << bit;
      EXPECT_EQ(contents->tensors[i].shape, original->tensors[i].shape) << bit;
      EXPECT_EQ(contents->tensors[i].bytes.data() - flipped.data(), original->tensors[i].bytes.data() - file.data());
    }
  }
  // The length alone has 64 bits, and any of them spoils the file.
  EXPECT_GT(refused, 64u);
}

}  // namespace
}  // namespace headrace
