#include "learner/best_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/checkpoint.h"
#include "common/file.h"
#include "common/test_directory.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

class BestWriterTest : public testing::Test {
 protected:
  void Write(uint64_t updates) {
    v1::CheckpointManifest manifest;
    manifest.set_run_id("run");
    manifest.mutable_counters()->set_updates(updates);
    writer_->Write(std::move(manifest), absl::StrCat("policy ", updates));
  }
  // What is written next does not come to an end before Release: its first look is for a manifest that is there, and
  // that one is a pipe into which nobody writes.
  void Block() {
    ASSERT_TRUE(MakeDirectories(best_).ok());
    ASSERT_EQ(mkfifo(manifest_.c_str(), 0600), 0);
  }
  void Release() { close(open(manifest_.c_str(), O_WRONLY | O_CLOEXEC)); }

  void ExpectBest(uint64_t updates) const {
    const absl::StatusOr<LoadedCheckpoint> best = LoadCheckpoint(best_);
    ASSERT_TRUE(best.ok()) << best.status();
    EXPECT_EQ(best->manifest.run_id(), "run");
    EXPECT_EQ(best->manifest.name(), kBestCheckpoint);
    EXPECT_EQ(best->manifest.counters().updates(), updates);
    EXPECT_EQ(best->files.at(kPolicyFile), absl::StrCat("policy ", updates));
  }

  const TestDirectory directory_;
  const std::string best_ = absl::StrCat(directory_.path(), "/", kBestCheckpoint);
  const std::string manifest_ = absl::StrCat(best_, "/", kManifestFile);
  std::unique_ptr<BestWriter> writer_ = std::make_unique<BestWriter>(directory_.path());
};

TEST_F(BestWriterTest, WhatIsWrittenTakesThePlaceOfWhatWasBestBefore) {
  for (const uint64_t updates : {1, 2}) {
    Write(updates);
    EXPECT_TRUE(writer_->writing());
    EXPECT_TRUE(writer_->Wait().ok());
    EXPECT_FALSE(writer_->writing());
    ExpectBest(updates);
  }
}

TEST_F(BestWriterTest, NobodyWaitsForAWriteAndTheNewestFollowsIt) {
  Block();
  Write(1);
  Write(2);
  Write(3);
  EXPECT_TRUE(writer_->Poll().ok());
  EXPECT_TRUE(writer_->writing());
  Release();
  EXPECT_TRUE(writer_->Wait().ok());
  ExpectBest(3);
}

TEST_F(BestWriterTest, TheLastIsOnDiskWhenTheWriterIsGone) {
  Block();
  Write(1);
  Write(2);
  Release();
  writer_.reset();
  ExpectBest(2);
}

TEST_F(BestWriterTest, AFailureIsToldAndTheNextIsWritten) {
  ASSERT_TRUE(WriteFileAtomically(best_, "a file where a directory should be").ok());
  Write(1);
  EXPECT_FALSE(writer_->Wait().ok());
  ASSERT_EQ(unlink(best_.c_str()), 0);
  Write(2);
  EXPECT_TRUE(writer_->Wait().ok());
  ExpectBest(2);
}

}  // namespace
}  // namespace headrace
