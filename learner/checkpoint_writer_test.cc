// Against replay shards that serve on loopback.
#include "learner/checkpoint_writer.h"

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "common/checkpoint.h"
#include "common/file.h"
#include "common/metrics.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CheckpointWriterTest : public testing::Test {
 protected:
  CheckpointWriterTest() {
    for (TestShard* const shard : {&first_, &second_}) {
      EXPECT_TRUE(shard->shard().CreateTable(MakePeer("run", "learner"), TestSpec()).ok());
    }
  }

  std::string Checkpoints() const { return directory_.path(); }
  CheckpointWriter Writer(std::vector<std::string> shards, uint32_t keep = 2) {
    return CheckpointWriter(Checkpoints(), std::move(shards), MakePeer("run", "learner"), keep, /*committed=*/"",
                            &metrics_, std::chrono::seconds(60));
  }
  // Of a run that was resumed from the first checkpoint. The patience is what an attempt takes while a shard is down;
  // on a busy machine a shard that is up may be out of its reach as well.
  CheckpointWriter ImpatientWriter() {
    return CheckpointWriter(Checkpoints(), {first_.address(), second_.address()}, MakePeer("run", "learner"),
                            /*keep=*/1, CheckpointName(1), &metrics_, std::chrono::seconds(1));
  }

  // Of the moment at which it is called.
  CheckpointWriter::Cut Cut(uint64_t updates, uint64_t env_steps) {
    CheckpointWriter::Cut cut;
    cut.manifest.set_run_id("run");
    cut.manifest.set_name(CheckpointName(updates));
    cut.manifest.mutable_counters()->set_updates(updates);
    cut.manifest.mutable_counters()->set_env_steps(env_steps);
    cut.files = {{kPolicyFile, "policy"}};
    cut.states = {first_.table().State(), second_.table().State()};
    return cut;
  }
  // Steps of one lane that is never continued.
  static void Insert(TestShard& shard, uint64_t writer, uint32_t steps) {
    TestWriter into(&shard.table(), writer);
    into.Append(0, steps);
    ASSERT_TRUE(into.Insert().ok());
  }

  MetricRegistry registry_{"learner"};
  LearnerMetrics metrics_{registry_};
  TestDirectory directory_;
  TestDirectory first_directory_, second_directory_;
  TestShard first_{0, first_directory_.path()};
  TestShard second_{1, second_directory_.path()};
};

TEST_F(CheckpointWriterTest, StepsThatCameBetweenTheCutAndTheShardsAreCounted) {
  Insert(first_, 1, 10);
  Insert(second_, 2, 20);
  CheckpointWriter::Cut cut = Cut(7, 30);
  Insert(first_, 3, 5);
  Insert(second_, 4, 1);
  CheckpointWriter writer = Writer({first_.address(), second_.address()});
  writer.Poll();  // of nothing
  writer.Start(std::move(cut));
  EXPECT_TRUE(writer.writing());
  const absl::Status written = writer.Wait();
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_FALSE(writer.writing());

  const absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(Checkpoints() + "/" + CheckpointName(7));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->manifest.counters().env_steps(), 30 + 5 + 1);
  EXPECT_EQ(loaded->manifest.counters().updates(), 7);
  EXPECT_EQ(loaded->files.at(kPolicyFile), "policy");
  ASSERT_EQ(loaded->manifest.shards_size(), 2);
  EXPECT_EQ(loaded->manifest.shards(1).shard(), 1);
  EXPECT_EQ(loaded->manifest.shards(1).tables(0).inserted_steps(), 21);
  EXPECT_GT(loaded->manifest.shards(1).bytes(), 0);
}

// Between the cut and its answer the shard was started anew and lost its 10 steps: the learner has counted them, and
// what the new life holds says nothing about steps after the cut.
TEST_F(CheckpointWriterTest, AShardThatStartedAnewInBetweenAddsNoSteps) {
  Insert(first_, 1, 10);
  CheckpointWriter::Cut cut = Cut(7, 10);
  first_.Restart();
  ASSERT_TRUE(first_.shard().CreateTable(MakePeer("run", "learner"), TestSpec()).ok());
  Insert(first_, 1, 3);
  CheckpointWriter writer = Writer({first_.address(), second_.address()});
  writer.Start(std::move(cut));
  ASSERT_TRUE(writer.Wait().ok());
  EXPECT_EQ(LoadCheckpoint(Checkpoints() + "/" + CheckpointName(7))->manifest.counters().env_steps(), 10);
}

TEST_F(CheckpointWriterTest, AShardThatIsDownIsNamedAndOlderCheckpointsStay) {
  CheckpointWriter writer = Writer({first_.address(), second_.address()}, /*keep=*/1);
  writer.Start(Cut(1, 0));
  ASSERT_TRUE(writer.Wait().ok());
  first_.StopServing();
  CheckpointWriter impatient = ImpatientWriter();
  impatient.Start(Cut(2, 0));
  const absl::Status status = impatient.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(first_.address()));
  EXPECT_THAT(*ListDirectory(Checkpoints()), ElementsAre(CheckpointName(1)));
  EXPECT_TRUE(LoadCheckpoint(Checkpoints() + "/" + CheckpointName(1)).ok());
  // Once it is back, so are checkpoints.
  first_.Serve();
  writer.Start(Cut(3, 0));
  const absl::Status written = writer.Wait();
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_THAT(*ListDirectory(Checkpoints()), ElementsAre(CheckpointName(3)));
}

// Otherwise what the last updates have learned would be gone with a shard.
TEST_F(CheckpointWriterTest, TheLastOneIsSavedWithoutAShardThatIsDownAndOlderOnesStay) {
  CheckpointWriter writer = Writer({first_.address(), second_.address()}, /*keep=*/1);
  writer.Start(Cut(1, 0));
  ASSERT_TRUE(writer.Wait().ok());
  Insert(second_, 1, 10);
  CheckpointWriter::Cut cut = Cut(2, 10);
  cut.last = true;
  first_.StopServing();
  CheckpointWriter impatient = ImpatientWriter();
  impatient.Start(std::move(cut));
  const absl::Status status = impatient.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has the networks, but not what a shard held"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(first_.address()));
  EXPECT_THAT(*ListDirectory(Checkpoints()), ElementsAre(CheckpointName(1), CheckpointName(2)));
  const absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(Checkpoints() + "/" + CheckpointName(2));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->files.at(kPolicyFile), "policy");
  EXPECT_EQ(loaded->manifest.shards(0).path(), "");
}

// What a shard holds is a thousand times as much, and what it cannot write must not take the room of what was learned.
TEST_F(CheckpointWriterTest, WhatWasLearnedIsOnDiskBeforeShardsWrite) {
  first_.StopServing();
  CheckpointWriter::Cut cut = Cut(1, 0);
  cut.last = true;
  CheckpointWriter writer = Writer({first_.address()});
  writer.Start(std::move(cut));
  const std::string policy = Checkpoints() + "/" + CheckpointName(1) + "/" + kPolicyFile;
  const auto soon = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!ReadFile(policy).ok()) ASSERT_LT(std::chrono::steady_clock::now(), soon);
  EXPECT_TRUE(absl::IsNotFound(LoadCheckpoint(Checkpoints() + "/" + CheckpointName(1)).status()));
  first_.Serve();
  const absl::Status written = writer.Wait();
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_TRUE(LoadCheckpoint(Checkpoints() + "/" + CheckpointName(1)).ok());
}

// The second shard writes its part each time, and yet keeps the one that a resumed run will ask for.
TEST_F(CheckpointWriterTest, WhatIsCommittedStaysOnEveryShardWhileAttemptsFail) {
  CheckpointWriter writer = Writer({first_.address(), second_.address()}, /*keep=*/1);
  writer.Start(Cut(1, 0));
  ASSERT_TRUE(writer.Wait().ok());
  first_.StopServing();
  CheckpointWriter impatient = ImpatientWriter();
  for (const uint64_t updates : {2, 3, 4}) {
    impatient.Start(Cut(updates, 0));
    EXPECT_FALSE(impatient.Wait().ok());
  }
  const std::vector<std::string> files = *ListDirectory(second_directory_.path());
  EXPECT_THAT(files, testing::Contains(HasSubstr(CheckpointName(1))));
}

// While a shard is away for hours, what is learned meanwhile must not hang on it.
TEST_F(CheckpointWriterTest, AfterSomeAttemptsWhatWasLearnedIsSavedWithoutTheShard) {
  CheckpointWriter writer = Writer({first_.address(), second_.address()}, /*keep=*/1);
  writer.Start(Cut(1, 0));
  ASSERT_TRUE(writer.Wait().ok());
  first_.StopServing();
  CheckpointWriter impatient = ImpatientWriter();
  const auto attempt = [&](uint64_t updates) {
    impatient.Start(Cut(updates, 0));
    EXPECT_FALSE(impatient.Wait().ok());
    return *ListDirectory(Checkpoints());
  };
  for (int failed = 1; failed < CheckpointWriter::kPatientFailures; ++failed) {
    EXPECT_THAT(attempt(2), ElementsAre(CheckpointName(1)));
  }
  // Before that one is replaced by less, there must be something new.
  EXPECT_THAT(attempt(1), ElementsAre(CheckpointName(1)));
  EXPECT_NE(LoadCheckpoint(Checkpoints() + "/" + CheckpointName(1))->manifest.shards(0).path(), "");
  for (int again = 0; again < 3; ++again) {
    EXPECT_THAT(attempt(3), ElementsAre(CheckpointName(1), CheckpointName(3)));
  }
  EXPECT_EQ(LoadCheckpoint(Checkpoints() + "/" + CheckpointName(3))->manifest.shards(0).path(), "");
  EXPECT_THAT(attempt(4), ElementsAre(CheckpointName(1), CheckpointName(4)));
  EXPECT_THAT(*ListDirectory(second_directory_.path()), testing::Contains(HasSubstr(CheckpointName(1))));
  first_.Serve();
  // However long a connection takes on a busy machine.
  CheckpointWriter::Cut cut = Cut(5, 0);
  do {
    impatient.Start(cut);
  } while (!impatient.Wait().ok());
  EXPECT_THAT(*ListDirectory(Checkpoints()), ElementsAre(CheckpointName(5)));
}

// A learner that is told to end has no more time than whoever kills it leaves.
TEST_F(CheckpointWriterTest, AShardThatTakesTooLongIsNamed) {
  CheckpointWriter writer = Writer({first_.address()});
  writer.Start(Cut(1, 0), std::chrono::seconds(-1));  // over before the shard could be done
  const absl::Status status = writer.Wait();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(first_.address()));
}

TEST_F(CheckpointWriterTest, AShardOfAnotherRunRefuses) {
  TestDirectory directory;
  TestShard strange(0, directory.path());
  ASSERT_TRUE(strange.shard().CreateTable(MakePeer("another run", "learner"), TestSpec()).ok());
  CheckpointWriter writer = Writer({strange.address()});
  writer.Start(Cut(1, 0));
  const absl::Status status = writer.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another run"));
  EXPECT_THAT(*ListDirectory(Checkpoints()), ElementsAre());
}

TEST_F(CheckpointWriterTest, WithoutShardsTheLearnersFilesAreAllThereIs) {
  Insert(second_, 1, 3);
  CheckpointWriter writer = Writer({});
  writer.Start(Cut(1, 5));
  while (writer.writing()) writer.Poll();
  EXPECT_EQ(metrics_.checkpoints.Value(), 1);
  EXPECT_TRUE(writer.Wait().ok());
  EXPECT_EQ(metrics_.checkpoints.Value(), 1);
  const absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(Checkpoints() + "/" + CheckpointName(1));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->manifest.counters().env_steps(), 5);
  // How much each shard had been given is known all the same: the next learner counts on from there.
  ASSERT_EQ(loaded->manifest.shards_size(), 2);
  EXPECT_EQ(loaded->manifest.shards(1).tables(0).inserted_steps(), 3);
  EXPECT_EQ(loaded->manifest.shards(1).path(), "");
}

// An alert once said that the disk is full whenever a shard was away.
TEST_F(CheckpointWriterTest, FailuresAreCountedByWhereTheyAre) {
  CheckpointWriter writer = Writer({first_.address(), second_.address()});
  first_.StopServing();
  CheckpointWriter impatient = ImpatientWriter();
  impatient.Start(Cut(1, 0));
  EXPECT_FALSE(impatient.Wait().ok());
  EXPECT_EQ(metrics_.checkpoint_failures.shard.Value(), 1);
  CheckpointWriter::Cut last = Cut(2, 0);
  last.last = true;
  impatient.Start(std::move(last));
  EXPECT_FALSE(impatient.Wait().ok());
  EXPECT_EQ(metrics_.checkpoint_failures.shard.Value(), 2);
  EXPECT_EQ(metrics_.checkpoint_failures.disk.Value(), 0);

  first_.Serve();
  ASSERT_TRUE(WriteFileAtomically(Checkpoints() + "/" + CheckpointName(3), "a file where a directory should be").ok());
  writer.Start(Cut(3, 0));
  EXPECT_FALSE(writer.Wait().ok());
  EXPECT_EQ(metrics_.checkpoint_failures.shard.Value(), 2);
  EXPECT_EQ(metrics_.checkpoint_failures.disk.Value(), 1);
  EXPECT_EQ(metrics_.checkpoints.Value(), 0);
}

}  // namespace
}  // namespace headrace
