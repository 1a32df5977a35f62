#include "common/checkpoint.h"

#include <atomic>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class CheckpointTest : public testing::Test {
 protected:
  std::string Path(uint64_t updates) const { return directory_.path() + "/" + CheckpointName(updates); }

  void Save(uint64_t updates) {
    v1::CheckpointManifest manifest;
    manifest.set_run_id("run");
    manifest.set_name(CheckpointName(updates));
    manifest.mutable_counters()->set_updates(updates);
    manifest.mutable_counters()->set_best_evaluation(-150.25);
    ASSERT_TRUE(SaveCheckpoint(Path(updates), manifest, {kFiles.begin(), kFiles.end()}).ok());
  }

  // Updates of the newest checkpoint that is whole; -1: there is none.
  int64_t NewestUpdates() {
    const absl::StatusOr<std::optional<LoadedCheckpoint>> newest = LoadNewestCheckpoint(directory_.path());
    EXPECT_TRUE(newest.ok()) << newest.status();
    return newest.ok() && newest->has_value() ? static_cast<int64_t>((*newest)->manifest.counters().updates()) : -1;
  }

  const std::map<std::string, std::string> kFiles = {
      {kAlgorithmFile, std::string("networks\0and more", 17)}, {kOptimizerFile, "moments"}, {kPolicyFile, ""}};
  const TestDirectory directory_;
};

TEST_F(CheckpointTest, WhatIsSavedIsLoaded) {
  Save(12345);
  EXPECT_TRUE(absl::EndsWith(Path(12345), "/update-000000012345"));
  const absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(Path(12345));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->files, kFiles);
  EXPECT_EQ(loaded->manifest.format(), 1);
  EXPECT_EQ(loaded->manifest.run_id(), "run");
  EXPECT_EQ(loaded->manifest.counters().updates(), 12345);
  EXPECT_EQ(loaded->manifest.counters().best_evaluation(), -150.25);
}

TEST_F(CheckpointTest, TheNewestIsTheOneWithTheMostUpdates) {
  EXPECT_EQ(NewestUpdates(), -1);
  Save(1000000);
  Save(999);
  Save(20000);
  EXPECT_EQ(NewestUpdates(), 1000000);
}

// Each file in turn, the manifest among them: cut off anywhere, with a bit flipped, with something appended, or gone.
TEST_F(CheckpointTest, OneWithADamagedFileIsPassedOver) {
  for (const std::string name : {kAlgorithmFile, kOptimizerFile, kPolicyFile, kManifestFile}) {
    Save(1000);
    Save(2000);
    const std::string path = Path(2000) + "/" + name;
    const std::string whole = *ReadFile(path);
    std::vector<std::string> damaged = {whole + "x"};
    for (size_t length = 0; length < whole.size(); length += 1 + whole.size() / 50) {
      damaged.push_back(whole.substr(0, length));
    }
    if (!whole.empty()) {
      damaged.push_back(whole);
      damaged.back()[whole.size() / 2] ^= 1;
    }
    for (const std::string& contents : damaged) {
      ASSERT_TRUE(WriteFileAtomically(path, contents).ok());
      const absl::Status status = LoadCheckpoint(Path(2000)).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss)
          << name << " of " << contents.size() << " bytes: " << status;
      EXPECT_TRUE(absl::StrContains(status.message(), name)) << status;
      EXPECT_EQ(NewestUpdates(), 1000);
    }
    ASSERT_TRUE(RemoveTree(path).ok());
    EXPECT_EQ(LoadCheckpoint(Path(2000)).status().code(),
              name == kManifestFile ? absl::StatusCode::kNotFound : absl::StatusCode::kDataLoss)
        << name;
    EXPECT_EQ(NewestUpdates(), 1000);
  }
}

// Cut off between two lines, a text-format message is still one: without the checksum it would be a checkpoint without
// files.
TEST_F(CheckpointTest, AManifestCutOffBetweenTwoLinesIsNotTakenForAShorterOne) {
  Save(1);
  const std::string path = Path(1) + "/" + kManifestFile;
  const std::string whole = *ReadFile(path);
  const size_t files = whole.find("files {");
  ASSERT_NE(files, std::string::npos);
  ASSERT_TRUE(WriteFileAtomically(path, whole.substr(0, files)).ok());
  EXPECT_EQ(LoadCheckpoint(Path(1)).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(CheckpointTest, WithoutAManifestThereIsNoCheckpoint) {
  Save(5);
  ASSERT_TRUE(RemoveTree(Path(5) + "/" + kManifestFile).ok());
  EXPECT_EQ(NewestUpdates(), -1);
}

TEST_F(CheckpointTest, OnlyTheNewestAreKeptAndTheBestAlways) {
  for (const uint64_t updates : {100, 200, 300, 400}) Save(updates);
  ASSERT_TRUE(
      SaveCheckpoint(directory_.path() + "/" + kBestCheckpoint, v1::CheckpointManifest(), {{kPolicyFile, "p"}}).ok());
  ASSERT_TRUE(NextIdentity(directory_.path()).ok());
  ASSERT_TRUE(RemoveOldCheckpoints(directory_.path(), CheckpointName(400), CheckpointName(300), 2).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()),
              UnorderedElementsAre("IDENTITY.textproto", "best", CheckpointName(300), CheckpointName(400)));
  ASSERT_TRUE(RemoveOldCheckpoints(directory_.path(), CheckpointName(400), CheckpointName(300), 5).ok());
  EXPECT_EQ(ListDirectory(directory_.path())->size(), 4);
  EXPECT_EQ(LoadCheckpoint(directory_.path() + "/" + kBestCheckpoint)->files.at(kPolicyFile), "p");
}

// 300 was never finished: it must not take the place of 200, which may be the only one that is whole besides 400.
TEST_F(CheckpointTest, AnUnfinishedOneDoesNotCountAmongThoseKept) {
  for (const uint64_t updates : {100, 200, 300, 400}) Save(updates);
  ASSERT_TRUE(RemoveTree(Path(300) + "/" + kManifestFile).ok());
  ASSERT_TRUE(RemoveOldCheckpoints(directory_.path(), CheckpointName(400), CheckpointName(200), 2).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre(CheckpointName(200), CheckpointName(400)));
}

// The run went on from 200, which is the only one that is whole besides 400.
TEST_F(CheckpointTest, ADamagedOneDoesNotCountAmongThoseKept) {
  for (const uint64_t updates : {100, 200, 300, 400}) Save(updates);
  ASSERT_TRUE(WriteFileAtomically(Path(300) + "/" + kPolicyFile, "damaged").ok());
  ASSERT_TRUE(RemoveOldCheckpoints(directory_.path(), CheckpointName(400), CheckpointName(200), 2).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre(CheckpointName(200), CheckpointName(400)));
}

// A process died when it had written another 300, before it had put that in the place of the first.
TEST_F(CheckpointTest, AReplacementThatWasLeftIsNeitherReadNorKept) {
  for (const uint64_t updates : {100, 200, 300}) Save(updates);
  ASSERT_EQ(std::rename(Path(300).c_str(), (Path(300) + ".new").c_str()), 0);
  EXPECT_EQ(NewestUpdates(), 200);
  Save(400);
  ASSERT_TRUE(RemoveOldCheckpoints(directory_.path(), CheckpointName(400), CheckpointName(200), 2).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre(CheckpointName(200), CheckpointName(400)));
}

// 300 was damaged, the run went on from 200, and has written 250: whatever 300 is, it is in the way.
TEST_F(CheckpointTest, TheOneJustWrittenStaysWhateverIsNewerThanIt) {
  for (const uint64_t updates : {100, 200, 250, 300}) Save(updates);
  ASSERT_TRUE(WriteFileAtomically(Path(300) + "/" + kPolicyFile, "damaged").ok());
  ASSERT_TRUE(RemoveOldCheckpoints(directory_.path(), CheckpointName(250), CheckpointName(200), 1).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre(CheckpointName(250)));
}

TEST_F(CheckpointTest, ARunWhoseCheckpointsAreAllUnusableIsNotBegunAnew) {
  Save(100);
  Save(200);
  for (const uint64_t updates : {100, 200}) {
    ASSERT_TRUE(WriteFileAtomically(Path(updates) + "/" + kPolicyFile, "damaged").ok());
  }
  const absl::Status status = LoadNewestCheckpoint(directory_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), Path(200) + "/" + kPolicyFile)) << status;
}

// It may hold more than this program knows of: it is neither passed over nor replaced.
TEST_F(CheckpointTest, AnotherFormatIsRefusedByItsNumber) {
  Save(100);
  Save(200);
  const std::string path = Path(200) + "/" + kManifestFile;
  std::string text = *ReadFile(path);
  text = absl::StrReplaceAll(text.substr(0, text.rfind("# xxh3 ")), {{"format: 1", "format: 2"}});
  ASSERT_TRUE(WriteFileAtomically(path, absl::StrFormat("%s# xxh3 %016x\n", text, Checksum(text))).ok());
  const absl::Status status = LoadNewestCheckpoint(directory_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), "format 2")) << status;
}

// A device among them has no end.
TEST_F(CheckpointTest, FilesOfOtherDirectoriesAreNotRead) {
  Save(100);
  const std::string elsewhere = "../elsewhere";
  ASSERT_TRUE(WriteFileAtomically(Path(100) + "/" + elsewhere, "moments").ok());
  const std::string path = Path(100) + "/" + kManifestFile;
  std::string text = *ReadFile(path);
  text = absl::StrReplaceAll(text.substr(0, text.rfind("# xxh3 ")), {{kOptimizerFile, elsewhere}});
  ASSERT_TRUE(WriteFileAtomically(path, absl::StrFormat("%s# xxh3 %016x\n", text, Checksum(text))).ok());
  const absl::Status status = LoadCheckpoint(Path(100)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), elsewhere)) << status;
}

TEST_F(CheckpointTest, AnErrorOfTheFileSystemIsNotTakenForDamage) {
  Save(100);
  Save(200);
  const std::string path = Path(200) + "/" + kPolicyFile;
  ASSERT_TRUE(RemoveTree(path).ok());
  ASSERT_TRUE(MakeDirectories(path).ok());  // EISDIR
  const absl::Status status = LoadNewestCheckpoint(directory_.path()).status();
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(absl::IsDataLoss(status)) << status;
}

TEST_F(CheckpointTest, OneThatIsThereIsReplacedAsAWhole) {
  Save(100);
  v1::CheckpointManifest manifest;
  manifest.set_name("another");
  ASSERT_TRUE(SaveCheckpoint(Path(100), manifest, {{kPolicyFile, "newer"}}).ok());
  const absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(Path(100));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->manifest.name(), "another");
  EXPECT_THAT(*ListDirectory(Path(100)), UnorderedElementsAre(kPolicyFile, kManifestFile));
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre(CheckpointName(100)));
}

TEST_F(CheckpointTest, FilesCountOnlyOnceTheyAreCommitted) {
  Save(100);
  for (const int updates : {100, 200}) {
    const absl::StatusOr<StagedCheckpoint> staged = StageCheckpoint(Path(updates), {{kPolicyFile, "newer"}});
    ASSERT_TRUE(staged.ok()) << staged.status();
    EXPECT_EQ((*LoadNewestCheckpoint(directory_.path()))->files, kFiles);
    ASSERT_TRUE(DropCheckpoint(*staged).ok());
    EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre(CheckpointName(100)));
  }
  const absl::StatusOr<StagedCheckpoint> staged = StageCheckpoint(Path(200), {{kPolicyFile, "newer"}});
  ASSERT_TRUE(CommitCheckpoint(*staged, {}).ok());
  EXPECT_EQ((*LoadNewestCheckpoint(directory_.path()))->files.at(kPolicyFile), "newer");
}

// As `eval` does while the run goes on, which replaces its best weights.
TEST_F(CheckpointTest, OneThatIsReplacedWhileItIsReadIsOneOrTheOther) {
  const std::string best = directory_.path() + "/" + kBestCheckpoint;
  const auto save = [&](char letter) {
    return SaveCheckpoint(best, {}, {{kPolicyFile, std::string(1 << 20, letter)}});
  };
  ASSERT_TRUE(save('a').ok());
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; !done; ++i) ASSERT_TRUE(save(static_cast<char>('a' + i % 26)).ok());
  });
  for (int i = 0; i < 300; ++i) {
    const absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(best);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
  }
  done = true;
  writer.join();
}

TEST_F(CheckpointTest, EachStartIsAnotherIncarnationOfTheSameRun) {
  const absl::StatusOr<v1::LearnerIdentity> first = NextIdentity(directory_.path());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->incarnation(), 1);
  EXPECT_EQ(first->run_id().size(), 16);
  for (const uint32_t incarnation : {2, 3}) {
    const absl::StatusOr<v1::LearnerIdentity> next = NextIdentity(directory_.path());
    ASSERT_TRUE(next.ok()) << next.status();
    EXPECT_EQ(next->incarnation(), incarnation);
    EXPECT_EQ(next->run_id(), first->run_id());
  }
}

// With another the shards would take the learner for one that has strayed there.
TEST_F(CheckpointTest, AnIdentityThatWasDeletedOrDamagedIsThatOfTheNewestCheckpoint) {
  v1::CheckpointManifest manifest;
  manifest.set_run_id("0123456789abcdef");
  manifest.mutable_counters()->set_learner_incarnation(7);
  ASSERT_TRUE(SaveCheckpoint(Path(100), manifest, {{kPolicyFile, "policy"}}).ok());
  const std::optional<LoadedCheckpoint> newest = *LoadNewestCheckpoint(directory_.path());
  for (const uint32_t incarnation : {8, 9}) {
    const absl::StatusOr<v1::LearnerIdentity> identity = NextIdentity(directory_.path(), newest);
    ASSERT_TRUE(identity.ok()) << identity.status();
    EXPECT_EQ(identity->run_id(), "0123456789abcdef");
    EXPECT_EQ(identity->incarnation(), incarnation);
  }
  for (const std::string damaged : {"run_id: ", ""}) {
    ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/IDENTITY.textproto", damaged).ok());
    const absl::StatusOr<v1::LearnerIdentity> identity = NextIdentity(directory_.path(), newest);
    ASSERT_TRUE(identity.ok()) << identity.status();
    EXPECT_EQ(identity->run_id(), "0123456789abcdef");
    EXPECT_EQ(identity->incarnation(), 8);
  }
}

TEST_F(CheckpointTest, AnIdentityThatCannotBeReadIsNotReplacedByAnotherRuns) {
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/IDENTITY.textproto", "run_id: ").ok());
  const absl::Status status = NextIdentity(directory_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), directory_.path() + "/IDENTITY.textproto")) << status;
  ASSERT_TRUE(WriteFileAtomically(directory_.path() + "/IDENTITY.textproto", "").ok());
  const absl::Status cut_off = NextIdentity(directory_.path()).status();
  EXPECT_EQ(cut_off.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(cut_off.message(), "/IDENTITY.textproto names no run")) << cut_off;
}

}  // namespace
}  // namespace headrace
