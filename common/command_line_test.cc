#include "common/command_line.h"

#include "absl/flags/flag.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

ABSL_FLAG(int32_t, number, 5, "how many");
ABSL_FLAG(std::string, text, "", "what to say");
ABSL_FLAG(bool, loud, false, "say it loudly");
ABSL_FLAG(std::string, set, "", "a field to override");

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Refusal(const std::vector<std::string>& arguments) {
  const absl::Status status = ReadCommandLine(arguments).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(CommandLineTest, ReadsValuesInEveryForm) {
  ASSERT_TRUE(ReadCommandLine({"--number=-3", "--text", "a=b", "-loud"}).ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_number), -3);
  EXPECT_EQ(absl::GetFlag(FLAGS_text), "a=b");
  EXPECT_TRUE(absl::GetFlag(FLAGS_loud));
  ASSERT_TRUE(ReadCommandLine({"--noloud", "--text="}).ok());
  EXPECT_FALSE(absl::GetFlag(FLAGS_loud));
  EXPECT_EQ(absl::GetFlag(FLAGS_text), "");
}

// The second form used to be swallowed without effect.
TEST(CommandLineTest, EverySetCountsWithAndWithoutAnEqualsSign) {
  const absl::StatusOr<CommandLine> line = ReadCommandLine({"--set=seed=1", "--set", "sac.batch_size=64"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->overrides, ElementsAre("seed=1", "sac.batch_size=64"));
  EXPECT_FALSE(line->help);
}

TEST(CommandLineTest, MistakesAreRefusedByName) {
  EXPECT_THAT(Refusal({"--nubmer=3"}), HasSubstr("no flag --nubmer (did you mean --number?); --help"));
  EXPECT_THAT(Refusal({"--flagfile=x"}), HasSubstr("no flag --flagfile"));
  EXPECT_THAT(Refusal({"--nonumber"}), HasSubstr("no flag --nonumber"));
  EXPECT_THAT(Refusal({"--number=three"}), HasSubstr("three"));
  EXPECT_EQ(Refusal({"--text"}), "--text needs a value");
  EXPECT_EQ(Refusal({"run"}), "expected flags only, got \"run\"");
}

TEST(CommandLineTest, HelpNamesEveryFlagOfTheProgramAndNoOther) {
  EXPECT_TRUE(ReadCommandLine({"--help"})->help);
  const std::string help = HelpText("test: tests");
  EXPECT_THAT(help, HasSubstr("test: tests"));
  EXPECT_THAT(help, HasSubstr("--number: how many (default: 5)"));
  EXPECT_THAT(help, HasSubstr("--set: a field to override\n"));
  EXPECT_THAT(help, testing::Not(HasSubstr("flagfile")));
}

}  // namespace
}  // namespace headrace
