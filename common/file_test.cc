#include "common/file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FileTest : public testing::Test {
 protected:
  std::vector<std::string> Entries() { return *ListDirectory(directory_.path()); }

  const TestDirectory directory_;
};

TEST_F(FileTest, ReadsWhatWasWritten) {
  for (const size_t size : {0, 1, 65535, 65536, 65537, 1000000}) {
    std::string contents(size, 'x');
    if (size > 0) contents[size / 2] = '\0';
    ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/f", contents).ok());
    EXPECT_EQ(*ReadFile(directory_.path() + "/f"), contents) << size;
  }
}

TEST_F(FileTest, ReadsFilesThatTellNoSize) { EXPECT_THAT(*ReadFile("/proc/self/status"), HasSubstr("VmRSS")); }

TEST_F(FileTest, ReplacesAFileAndLeavesNothingElse) {
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/f", "old and longer").ok());
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/f", "new").ok());
  EXPECT_EQ(*ReadFile(directory_.path() + "/f"), "new");
  EXPECT_THAT(Entries(), ElementsAre("f"));
}

TEST_F(FileTest, KeepsTheOldFileWhenTheNewOneDoesNotFit) {
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/f", "old").ok());
  // A limit on the size of files stands for the full disk; without the signal, write fails with EFBIG.
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomically(directory_.path() + "/f", std::string(5000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);

  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("write " + directory_.path() + "/f"));
  EXPECT_THAT(status.message(), HasSubstr("File too large"));
  EXPECT_EQ(*ReadFile(directory_.path() + "/f"), "old");
  EXPECT_THAT(Entries(), ElementsAre("f"));
}

TEST_F(FileTest, NamesPathAndCauseOfErrors) {
  const std::string missing = directory_.path() + "/missing";
  EXPECT_EQ(ReadFile(missing).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ReadFile(missing).status().message(), HasSubstr("open " + missing + ": No such file or directory"));
  EXPECT_THAT(ReadFile(directory_.path()).status().message(),
              HasSubstr("read " + directory_.path() + ": Is a directory"));
  EXPECT_EQ(ListDirectory(missing).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ListDirectory(missing).status().message(), HasSubstr("list " + missing));
  EXPECT_EQ(WriteFileAtomically(missing + "/f", "x").code(), absl::StatusCode::kNotFound);
  // A directory cannot be replaced by a file, and what was written for it goes away.
  ASSERT_TRUE(MakeDirectories(directory_.path() + "/d").ok());
  EXPECT_THAT(WriteFileAtomically(directory_.path() + "/d", "x").message(),
              HasSubstr("rename to " + directory_.path() + "/d"));
  EXPECT_THAT(Entries(), ElementsAre("d"));
}

TEST_F(FileTest, MakesDirectoriesWithTheirParents) {
  EXPECT_TRUE(MakeDirectories(directory_.path() + "/a/b/c").ok());
  EXPECT_TRUE(MakeDirectories(directory_.path() + "/a/b/c").ok());
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/a/file", "").ok());
  EXPECT_FALSE(MakeDirectories(directory_.path() + "/a/file").ok());
  EXPECT_FALSE(MakeDirectories(directory_.path() + "/a/file/b").ok());
  EXPECT_THAT(*ListDirectory(directory_.path() + "/a"), ElementsAre("b", "file"));
}

TEST_F(FileTest, RemovesTreesButNotWhatLinksPointTo) {
  ASSERT_TRUE(MakeDirectories(directory_.path() + "/kept").ok());
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/kept/f", "x").ok());
  ASSERT_TRUE(MakeDirectories(directory_.path() + "/gone/a").ok());
  ASSERT_EQ(::symlink((directory_.path() + "/kept").c_str(), (directory_.path() + "/gone/link").c_str()), 0);
  EXPECT_TRUE(RemoveTree(directory_.path() + "/gone").ok());
  EXPECT_TRUE(RemoveTree(directory_.path() + "/gone").ok());
  EXPECT_THAT(Entries(), ElementsAre("kept"));
  EXPECT_EQ(*ReadFile(directory_.path() + "/kept/f"), "x");
}

}  // namespace
}  // namespace headrace
