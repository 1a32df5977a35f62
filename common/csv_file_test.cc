#include "common/csv_file.h"

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <string>

#include "common/file.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CsvFileTest : public testing::Test {
 protected:
  std::unique_ptr<CsvFile> Open(const std::vector<std::string>& columns = {"steps", "loss"}) {
    absl::StatusOr<std::unique_ptr<CsvFile>> file = CsvFile::Open(path_, columns);
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? *std::move(file) : nullptr;
  }
  void Write(const std::string& text) { ASSERT_TRUE(WriteFileAtomically(path_, text).ok()); }
  std::string Text() { return *ReadFile(path_); }

  const TestDirectory directory_;
  const std::string path_ = directory_.path() + "/f.csv";
};

TEST_F(CsvFileTest, WritesHeaderAndRowsThatReadersSeeAtOnce) {
  const auto file = Open();
  EXPECT_EQ(Text(), "steps,loss\n");
  ASSERT_TRUE(file->Append({{"steps", 1000000}, {"loss", 0.1}}).ok());
  EXPECT_EQ(Text(), "steps,loss\n1000000,0.1\n");
  ASSERT_TRUE(file->Append({{"loss", -1e-30}, {"steps", 9007199254740992}}).ok());
  EXPECT_EQ(Text(), "steps,loss\n1000000,0.1\n9007199254740992,-1e-30\n");
}

TEST_F(CsvFileTest, LeavesCellsWithoutValuesEmptyAndSpellsNumbersThatAreNotFinite) {
  const auto file = Open();
  ASSERT_TRUE(file->Append({{"steps", 1}}).ok());
  ASSERT_TRUE(file->Append({{"loss", std::nan("")}}).ok());
  ASSERT_TRUE(file->Append({{"loss", -INFINITY}}).ok());
  EXPECT_EQ(Text(), "steps,loss\n1,\n,nan\n,-inf\n");
}

TEST_F(CsvFileTest, GoesOnAfterARestart) {
  ASSERT_TRUE(Open()->Append({{"steps", 1}, {"loss", 2}}).ok());
  ASSERT_TRUE(Open()->Append({{"steps", 2}, {"loss", 1}}).ok());
  EXPECT_EQ(Text(), "steps,loss\n1,2\n2,1\n");
}

TEST_F(CsvFileTest, AddsColumnsAtTheEndOfEveryLine) {
  ASSERT_TRUE(Open()->Append({{"steps", 1}, {"loss", 2}}).ok());
  const auto file = Open({"loss", "entropy"});
  EXPECT_EQ(Text(), "steps,loss,entropy\n1,2,\n");
  ASSERT_TRUE(file->Append({{"entropy", 3}, {"lag", 4}}).ok());
  EXPECT_EQ(Text(), "steps,loss,entropy,lag\n1,2,,\n,,3,4\n");
  EXPECT_THAT(file->columns(), ElementsAre("steps", "loss", "entropy", "lag"));
}

TEST_F(CsvFileTest, RemovesTheRowThatACrashCutShort) {
  // "2,0." is a whole row but for its end: 0.5 may have been meant.
  for (const std::string rest : {"2", "2,", "2,0.", "2,0.5"}) {
    Write("steps,loss\n1,2\n" + rest);
    ASSERT_TRUE(Open()->Append({{"steps", 3}, {"loss", 4}}).ok());
    EXPECT_EQ(Text(), "steps,loss\n1,2\n3,4\n");
  }
}

TEST_F(CsvFileTest, RemovesALastLineThatLostItsContents) {
  Write(std::string("steps,loss\n1,2\n") + std::string(6, '\0') + "\n");
  Open();
  EXPECT_EQ(Text(), "steps,loss\n1,2\n");
}

TEST_F(CsvFileTest, StartsAnewWhenEvenTheHeaderWasCutShort) {
  Write("steps,lo");
  Open();
  EXPECT_EQ(Text(), "steps,loss\n");
}

TEST_F(CsvFileTest, LeavesOutBrokenLinesInTheMiddleAndKeepsTheFileThatHadThem) {
  const std::string broken = "steps,loss\n1,2\n2\n3,4\n5,6,7\n8,9\n";
  Write(broken);
  Open();
  EXPECT_EQ(Text(), "steps,loss\n1,2\n3,4\n8,9\n");
  EXPECT_EQ(*ReadFile(path_ + ".damaged"), broken);
}

TEST_F(CsvFileTest, TruncatesRowsBeyondAValueAndGoesOnThere) {
  const auto file = Open();
  for (const double steps : {100, 200, 300, 400}) ASSERT_TRUE(file->Append({{"steps", steps}, {"loss", 1}}).ok());
  ASSERT_TRUE(file->Append({{"loss", 7}}).ok());
  ASSERT_TRUE(file->TruncateAfter("steps", 200).ok());
  EXPECT_EQ(Text(), "steps,loss\n100,1\n200,1\n,7\n");
  ASSERT_TRUE(file->Append({{"steps", 250}}).ok());
  EXPECT_EQ(Text(), "steps,loss\n100,1\n200,1\n,7\n250,\n");
  EXPECT_EQ(file->TruncateAfter("depth", 1).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CsvFileTest, KnowsTheHighestNumberOfAColumn) {
  const auto file = Open();
  EXPECT_EQ(*file->Highest("loss"), 0);
  for (const double loss : {2, 5, 3}) ASSERT_TRUE(file->Append({{"loss", loss}}).ok());
  ASSERT_TRUE(file->Append({{"steps", 7}}).ok());
  EXPECT_EQ(*file->Highest("loss"), 5);
  EXPECT_EQ(file->Highest("depth").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CsvFileTest, RefusesNamesThatWouldBreakTheFile) {
  const auto file = Open();
  for (const std::string name : {"", "a,b", "a\nb", "\"a\""}) {
    EXPECT_EQ(file->Append({{name, 1}}).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(file->Append({{"loss", 1}, {"loss", 2}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Text(), "steps,loss\n");
}

TEST_F(CsvFileTest, LeavesNoHalfRowWhenTheDiskIsFull) {
  const auto file = Open();
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {14, before.rlim_max};  // the header's 11 bytes and 3 of the row
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = file->Append({{"steps", 12345}, {"loss", 1}});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr(path_));
  EXPECT_EQ(Text(), "steps,loss\n");
  ASSERT_TRUE(file->Append({{"steps", 1}, {"loss", 1}}).ok());
  EXPECT_EQ(Text(), "steps,loss\n1,1\n");
}

}  // namespace
}  // namespace headrace
