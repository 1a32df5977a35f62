#include "common/config_override.h"

#include <cstdint>
#include <string>
#include <vector>

#include "common/config_test.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

test::Everything Applied(const std::vector<std::string>& overrides) {
  test::Everything message;
  for (const std::string& override : overrides) {
    const absl::Status status = ApplyOverride(override, &message);
    EXPECT_TRUE(status.ok()) << status;
  }
  return message;
}

// The message of the error, after checking that nothing was changed.
std::string Refusal(const std::string& override, test::Everything message = {}) {
  const std::string before = message.SerializeAsString();
  const absl::Status status = ApplyOverride(override, &message);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(message.SerializeAsString(), before);
  return std::string(status.message());
}

TEST(ConfigOverrideTest, SetsScalarsOfEveryType) {
  const test::Everything message = Applied({"i32=-5", "i64=-9223372036854775808", "u32=4294967295",
                                            "u64=18446744073709551615", "f=0.5", "d=3e-4", "b=true", "colour=RED"});
  EXPECT_EQ(message.i32(), -5);
  EXPECT_EQ(message.i64(), INT64_MIN);
  EXPECT_EQ(message.u32(), UINT32_MAX);
  EXPECT_EQ(message.u64(), UINT64_MAX);
  EXPECT_EQ(message.f(), 0.5f);
  EXPECT_EQ(message.d(), 3e-4);
  EXPECT_TRUE(message.b());
  EXPECT_EQ(message.colour(), test::RED);
}

TEST(ConfigOverrideTest, TakesWholeNumbersWithAnExponentForIntegers) {
  const test::Everything message = Applied({"u64=1e15", "i32=-2.5E3", "inner.sizes=1e2,3"});
  EXPECT_EQ(message.u64(), 1000000000000000u);
  EXPECT_EQ(message.i32(), -2500);
  EXPECT_THAT(message.inner().sizes(), ElementsAre(100, 3));
  EXPECT_EQ(Refusal("u32=1e10"), "u32: expected an unsigned integer of at most 4294967295, got \"1e10\"");
  // Neither 0.01 nor 1.5 is whole; 2^60 and one more would be one number to a double.
  for (const std::string value : {"1e-2", "1.5e0", "1152921504606846977e0", "1e400", "e", "1e"}) {
    EXPECT_EQ(Refusal("u64=" + value), "u64: expected an unsigned integer, got \"" + value + "\"");
  }
}

TEST(ConfigOverrideTest, TakesStringsWithoutQuotesAndWithEqualsSigns) {
  EXPECT_EQ(Applied({"s=a b=c \"d\""}).s(), "a b=c \"d\"");
}

TEST(ConfigOverrideTest, LeavesOutBlanksAroundFieldAndValue) {
  EXPECT_EQ(Applied({" inner.count = 7 "}).inner().count(), 7);
  EXPECT_TRUE(Applied({"b = true"}).b());
  EXPECT_EQ(Refusal("i33 = 1"), Refusal("i33=1"));
}

TEST(ConfigOverrideTest, CreatesMessagesOnTheWay) {
  const test::Everything message = Applied({"inner.count=7"});
  EXPECT_TRUE(message.has_inner());
  EXPECT_EQ(message.inner().count(), 7);
}

TEST(ConfigOverrideTest, ReplacesRepeatedFieldsByTheList) {
  const test::Everything message =
      Applied({"inner.sizes=1,2,3", "inner.sizes=64, 32", "words=one,two", "colours=RED,GREEN"});
  EXPECT_THAT(message.inner().sizes(), ElementsAre(64, 32));
  EXPECT_THAT(message.words(), ElementsAre("one", "two"));
  EXPECT_THAT(message.colours(), ElementsAre(test::RED, test::GREEN));
}

TEST(ConfigOverrideTest, ClearsWithAnEmptyValue) {
  const test::Everything message = Applied({"s=y", "inner.sizes=1", "inner.count=2", "s=", "inner.sizes=", "list="});
  EXPECT_FALSE(message.has_s());
  EXPECT_EQ(message.s(), "x");
  EXPECT_EQ(message.inner().sizes_size(), 0);
  EXPECT_EQ(message.inner().count(), 2);
  EXPECT_FALSE(Applied({"inner.count=2", "inner="}).has_inner());
}

TEST(ConfigOverrideTest, LetsTheLastOverrideWin) { EXPECT_EQ(Applied({"i32=1", "i32=2"}).i32(), 2); }

TEST(ConfigOverrideTest, RefusesValuesOfTheWrongTypeWithExpectedAndGot) {
  EXPECT_EQ(Refusal("u32=two"), "u32: expected an unsigned integer, got \"two\"");
  EXPECT_EQ(Refusal("u64=-1"), "u64: expected an unsigned integer, got \"-1\"");
  EXPECT_EQ(Refusal("i32=1.5"), "i32: expected an integer, got \"1.5\"");
  EXPECT_EQ(Refusal("u32=4294967296"), "u32: expected an unsigned integer of at most 4294967295, got \"4294967296\"");
  EXPECT_EQ(Refusal("d=fast"), "d: expected a number, got \"fast\"");
  EXPECT_EQ(Refusal("b=maybe"), "b: expected true or false, got \"maybe\"");
  EXPECT_EQ(Refusal("inner.sizes=1,,2"), "inner.sizes: expected an unsigned integer, got \"\"");
}

TEST(ConfigOverrideTest, RefusesUnknownEnumValuesWithTheValidOnes) {
  EXPECT_EQ(Refusal("colour=GREEM"), "colour: expected RED or GREEN, got \"GREEM\"");
}

TEST(ConfigOverrideTest, NamesTheUnknownPartOfAPathAndTheNearestNames) {
  EXPECT_EQ(Refusal("iner.count=1"), "iner.count: Everything has no field iner; did you mean inner?");
  EXPECT_EQ(Refusal("inner.cuont=1"), "inner.cuont: Inner has no field cuont; did you mean count?");
  EXPECT_EQ(Refusal("inner.zzzzzzzzzz=1"),
            "inner.zzzzzzzzzz: Inner has no field zzzzzzzzzz; there is count, sizes, rate");
}

TEST(ConfigOverrideTest, RefusesPathsThatGoTooFarOrNotFarEnough) {
  EXPECT_EQ(Refusal("i32.low=1"), "i32.low: i32 has no fields of its own");
  EXPECT_EQ(Refusal("list.count=1"), "list.count: list has no fields of its own");
  EXPECT_EQ(Refusal("inner=1"), "inner: a group of fields; set one of its own: count, sizes, rate");
  EXPECT_THAT(Refusal("inner..count=1"), HasSubstr("Inner has no field ;"));
}

TEST(ConfigOverrideTest, RefusesWhatIsNoAssignment) {
  EXPECT_EQ(Refusal("i32"), "\"i32\": expected path.to.field=value");
  EXPECT_EQ(Refusal("=3"), "\"=3\": expected path.to.field=value");
}

TEST(ConfigOverrideTest, RefusesFieldsOfTheOneofMemberThatIsNotInUse) {
  test::Everything message;
  message.mutable_left()->set_count(1);
  EXPECT_EQ(Refusal("right.count=2", message), "right.count: the configured choice is left, not right");
  EXPECT_TRUE(ApplyOverride("left.count=2", &message).ok());
  EXPECT_EQ(message.left().count(), 2);
}

TEST(ConfigOverrideTest, SwitchesTheOneofAfterTheMemberInUseIsCleared) {
  EXPECT_TRUE(Applied({"left.count=1", "left=", "right.count=2"}).has_right());
}

}  // namespace
}  // namespace headrace
