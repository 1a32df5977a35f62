#include "replay/checkpoint.h"

#include <sys/resource.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint_testing.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(CheckpointTest, ARestoreEndsWhenItIsInterrupted) {
  ASSERT_TRUE(Write(*MakeFullShard(), "one").ok());
  const std::unique_ptr<Shard> interrupted = MakeShard();
  const absl::Status status = RestoreNewest(directory_.path(), *interrupted, [] { return true; }).status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  const std::unique_ptr<Shard> restored = MakeShard();
  EXPECT_EQ(Restore(*restored), "one");
}

TEST_F(CheckpointTest, RestoresEverythingToTheByte) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  const absl::StatusOr<v1::CheckpointResponse> written = Write(*shard, "one");
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->path(), File("one"));
  EXPECT_EQ(written->bytes(), ReadFile(File("one"))->size());
  EXPECT_EQ(written->xxh3(), Checksum(*ReadFile(File("one"))));
  const std::unique_ptr<Shard> restored = MakeShard();
  EXPECT_EQ(Restore(*restored), "one");
  EXPECT_EQ(restored->run_id(), "run");
  EXPECT_EQ(restored->Info().restored_from(), "one");
  const std::string before = Contents(*shard->Tables()[0]);
  EXPECT_THAT(before, HasSubstr("item sampled 2, priority "));
  EXPECT_EQ(Contents(*restored->Tables()[0]), before);
  EXPECT_EQ(restored->Tables()[0]->spec().SerializeAsString(), shard->Tables()[0]->spec().SerializeAsString());
}

// A table is cut when its turn has come: what is inserted into the second while the first is written is in the file.
TEST_F(CheckpointTest, ATableIsNotCutBeforeItIsWritten) {
  constexpr uint64_t kLargeBudget = 64 << 20;
  Shard shard(3, 2 * kLargeBudget, 1);
  v1::TableSpec spec = TestSpec();
  spec.set_max_bytes(kLargeBudget);
  TestWriter first(*shard.CreateTable(MakePeer("run", "learner"), spec), 11);
  for (int i = 0; i < 40; ++i) {
    first.Append(0, 20'000);
    ASSERT_TRUE(first.Insert().ok());
  }
  spec.set_name("z");
  TestWriter second(*shard.CreateTable(MakePeer("run", "learner"), spec), 12);
  uint64_t inserted = 0;
  bool met = false;
  for (int attempt = 0; attempt < 100 && !met; ++attempt) {
    const uint64_t before = inserted;
    auto written = std::async(std::launch::async, [&] { return Write(shard, "one", 1).status(); });
    const auto being_written = [&] {
      return std::ranges::any_of(*ListDirectory(directory_.path()),
                                 [](const std::string& name) { return name.ends_with(".tmp"); });
    };
    while (!being_written() && written.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      std::this_thread::yield();
    }
    second.Append(0, 1);
    ASSERT_TRUE(second.Insert().ok());
    ++inserted;
    ASSERT_TRUE(written.get().ok());
    Shard restored(3, 2 * kLargeBudget, 2);
    ASSERT_EQ(Restore(restored), "one");
    const uint64_t steps = (*restored.FindTable("z"))->State().inserted_steps();
    ASSERT_GE(steps, before);
    met = steps == inserted;
  }
  EXPECT_TRUE(met);
}

TEST_F(CheckpointTest, TablesWithRowsOfTheirOwnAllComeBack) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  v1::TableSpec spec = FramesSpec();
  Table& frames = **shard->CreateTable(MakePeer("run", "learner"), spec);
  spec = TestSpec();
  spec.set_name("z");
  Table& another = **shard->CreateTable(MakePeer("run", "learner"), spec);
  TestWriter writer(&another, 11, {.rows = 2, .stride = 1});
  writer.Append(0, 9);
  ASSERT_TRUE(writer.Insert().ok());
  const absl::StatusOr<v1::CheckpointResponse> written = Write(*shard, "one");
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->tables_size(), 3);
  const std::unique_ptr<Shard> restored = MakeShard();
  EXPECT_EQ(Restore(*restored), "one");
  for (const char* const name : {"t", "z"}) {
    EXPECT_EQ(Contents(**restored->FindTable(name)), Contents(**shard->FindTable(name))) << name;
  }
  EXPECT_EQ((*restored->FindTable(frames.spec().name()))->State().items(), 0u);
  EXPECT_EQ(*WriteLastCheckpoint(*restored, directory_.path()), "") << "it has everything";
}

// Of a table whose items do not go in their order, so that its rows lie singly and with holes.
TEST_F(CheckpointTest, RowsThatAreReusedSinglyComeBack) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_remover(v1::MINIMUM_PRIORITY);
  spec.set_max_bytes(64 << 10);
  const std::unique_ptr<Shard> shard = MakeShard();
  Table& table = **shard->CreateTable(MakePeer("run", "learner"), spec);
  TestWriter writer(&table, 11, {.rows = 3, .stride = 1});
  for (int i = 0; i < 200; ++i) {
    writer.SetPriority(static_cast<float>(i * 37 % 101));
    writer.Append(0, 7, i % 3 == 0 ? v1::TERMINATED : v1::NOT_ENDED);
    ASSERT_TRUE(writer.Insert().ok());
  }
  EXPECT_GT(table.State().removed_items(), 100u);
  ASSERT_TRUE(Write(*shard, "one").ok());
  const std::unique_ptr<Shard> restored = MakeShard();
  EXPECT_EQ(Restore(*restored), "one");
  EXPECT_EQ(Contents(*restored->Tables()[0]), Contents(table));
  // It goes on, in the midst of an episode and full.
  TestWriter again(restored->Tables()[0], 11, {.rows = 3, .stride = 1}, writer.next_sequence());
  EXPECT_EQ(again.opened().last_sequence + 1, writer.next_sequence());
}

// What a release with other books wrote may be more than this one has room for: then nothing begins empty.
TEST_F(CheckpointTest, WhatDoesNotFitStopsTheStart) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "one").ok());
  Parts parts = Split(*ReadFile(File("one")));
  parts.header.mutable_tables(0)->mutable_spec()->set_max_items(5);
  ASSERT_TRUE(WriteFileAtomically(File("one"), Join(parts)).ok());
  const std::unique_ptr<Shard> restored = MakeShard();
  const absl::Status status = RestoreNewest(directory_.path(), *restored).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("does not fit into this shard: table \"t\""));
}

// A shard that is told to end between two checkpoints.
TEST_F(CheckpointTest, TheLastOneHasWhatCameAfterTheOneBefore) {
  const std::unique_ptr<Shard> shard = MakeShard();
  EXPECT_EQ(*WriteLastCheckpoint(*shard, directory_.path()), "") << "nothing has been inserted";
  Table& table = **shard->CreateTable(MakePeer("run", "learner"), TestSpec());
  TestWriter writer(&table, 11, {.rows = 4, .stride = 2});
  writer.Append(0, 10);
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_TRUE(Write(*shard, "one").ok());
  EXPECT_EQ(*WriteLastCheckpoint(*shard, directory_.path()), "") << "it has everything";
  writer.Append(0, 10);
  ASSERT_TRUE(writer.Insert().ok());
  const std::string last = absl::StrCat("end-", shard->incarnation());
  EXPECT_EQ(*WriteLastCheckpoint(*shard, directory_.path()), last);
  // An episode's last row is no step, but may end an item, and the writer goes on behind it.
  writer.Append(0, 1, v1::TERMINATED);
  ASSERT_TRUE(writer.Insert().ok());
  EXPECT_EQ(table.State().inserted_steps(), 20u);
  EXPECT_EQ(*WriteLastCheckpoint(*shard, directory_.path()), last);
  const std::unique_ptr<Shard> restored = MakeShard();
  EXPECT_EQ(Restore(*restored), last);
  EXPECT_EQ(Contents(*restored->Tables()[0]), Contents(table));
  EXPECT_EQ(restored->Tables()[0]->State().inserted_steps(), 20u);
  EXPECT_EQ(*WriteLastCheckpoint(*restored, directory_.path()), "") << "it has only what it began with";
  // To be sampled is something, too. Of the ends of lives that one stays which a life began with.
  std::string begun_with = last;
  for (const uint64_t life : {5, 6}) {
    Shard next(3, kCheckpointBudget, life);
    EXPECT_EQ(Restore(next), begun_with);
    Table::Batch batch;
    ASSERT_TRUE(next.Tables()[0]->Sample({1, 1, 1}, batch, {&next, [] {}}).ok());
    const std::string end = absl::StrCat("end-", life);
    EXPECT_EQ(*WriteLastCheckpoint(next, directory_.path()), end);
    EXPECT_TRUE(std::filesystem::exists(File(begun_with)));
    begun_with = end;
  }
  EXPECT_FALSE(std::filesystem::exists(File(last)));
  // As many steps as the newest has, but others.
  Shard another(3, kCheckpointBudget, 2);
  TestWriter other(*another.CreateTable(MakePeer("run", "learner"), TestSpec()), 12, {.rows = 4, .stride = 2});
  other.Append(0, 20);
  ASSERT_TRUE(other.Insert().ok());
  EXPECT_EQ(*WriteLastCheckpoint(another, directory_.path()), "end-2");
  EXPECT_TRUE(std::filesystem::exists(File("one"))) << "a learner may still resume from it";
}

// An item that begins before the checkpoint and ends after the restore: its rows were no longer linked.
TEST_F(CheckpointTest, LanesGoOnAfterTheRestore) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  const std::unique_ptr<Shard> shard = MakeShard();
  Table& table = **shard->CreateTable(MakePeer("run", "learner"), spec);
  ChunkBuilder builder(table.layout(), {.rows = 4, .stride = 1});
  const auto build = [&](uint64_t sequence, uint64_t first, uint64_t end) {
    for (uint64_t i = first; i < end; ++i) {
      const TestRow row(2, i);
      builder.Append(2, row.columns(), v1::NOT_ENDED);
    }
    return builder.Build(sequence);
  };
  const uint64_t session = table.OpenWriter(7, 1).session;
  ASSERT_TRUE(InsertInto(table, 7, session, build(1, 0, 3)).ok());  // no item yet
  ASSERT_TRUE(Write(*shard, "one").ok());

  const std::unique_ptr<Shard> restored = MakeShard();
  ASSERT_EQ(Restore(*restored), "one");
  Table& again = *restored->Tables()[0];
  const Table::OpenedWriter opened = again.OpenWriter(7, 1);
  EXPECT_EQ(opened.last_sequence, 1u);
  ASSERT_TRUE(InsertInto(again, 7, opened.session, build(2, 3, 4)).ok());
  Table::Batch batch;
  ASSERT_TRUE(again.Sample({1, 4, 1}, batch, {&again, [] {}}).ok());
  std::array<std::array<float, 2>, 4> observations;
  const std::vector<Slice> slices = {{0, 0, 4}};
  const std::vector<std::byte*> blocks = {reinterpret_cast<std::byte*>(&observations)};
  again.Gather(batch.items(), slices, blocks);
  for (uint64_t row = 0; row < 4; ++row) EXPECT_EQ(observations[row], TestRow(2, row).observation);
}

TEST_F(CheckpointTest, WhatIsInAQueueComesOnceAndItsWritersGoOn) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  spec.set_max_items(20);
  spec.set_queue(true);
  spec.set_items_span_episodes(true);
  const std::unique_ptr<Shard> shard = MakeShard();
  Table& table = **shard->CreateTable(MakePeer("run", "learner"), spec);
  TestWriter writer(&table, 7, {.rows = 3, .stride = 2, .span_episodes = true});
  writer.Append(0, 6, v1::TERMINATED);  // items from rows 0 and 2
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_TRUE(Write(*shard, "one").ok());
  EXPECT_EQ(table.State().items(), 2u);

  const std::unique_ptr<Shard> restored = MakeShard();
  ASSERT_EQ(Restore(*restored), "one");
  Table& again = *restored->Tables()[0];
  EXPECT_EQ(again.State().items(), 0u);
  EXPECT_EQ(again.State().inserted_steps(), 5u);
  // The item from row 4 reaches back over the restore.
  ChunkBuilder builder(again.layout(), {.rows = 3, .stride = 2, .span_episodes = true});
  for (uint64_t i = 0; i < 7; ++i) {
    const TestRow row(0, i);
    builder.Append(0, row.columns(), i == 5 ? v1::TERMINATED : v1::NOT_ENDED);
    if (i == 5) (void)builder.Build(1);
  }
  const Table::OpenedWriter opened = again.OpenWriter(7, 1);
  EXPECT_EQ(opened.last_sequence, 1u);
  ASSERT_TRUE(InsertInto(again, 7, opened.session, builder.Build(2)).ok());
  EXPECT_EQ(again.State().items(), 1u);
}

TEST_F(SharedRowsCheckpointTest, TablesOverTheSameRowsComeBackTogether) {
  const absl::StatusOr<v1::CheckpointResponse> written = Write(*shard_, "one");
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->tables_size(), 3);
  const Parts parts = Split(*ReadFile(File("one")));
  ASSERT_EQ(parts.header.tables_size(), 3);
  EXPECT_EQ(parts.header.tables(0).spec().name(), "t");
  EXPECT_EQ(parts.header.tables(1).rows() + parts.header.tables(2).rows(), 0u);
  EXPECT_EQ(parts.header.tables(1).items(), other_->State().items());
  EXPECT_EQ(parts.header.tables(2).items(), 0u) << "of a queue";

  const std::unique_ptr<Shard> restored = MakeShard();
  EXPECT_EQ(Restore(*restored), "one");
  const std::vector<Table*> tables = restored->Tables();
  ASSERT_EQ(tables.size(), 3u);
  const std::string before = Contents(*table_);
  EXPECT_THAT(before, HasSubstr("\na: 64 steps, "));
  EXPECT_THAT(before, HasSubstr("item sampled 2, priority "));
  EXPECT_EQ(Contents(*tables[0]).substr(0, before.find("\nqueue: ")), before.substr(0, before.find("\nqueue: ")));
  EXPECT_EQ(tables[1]->spec().name(), "a");
  EXPECT_EQ(tables[1]->State().mass(), other_->State().mass());
  EXPECT_EQ(tables[2]->State().inserted_items(), queue_->State().inserted_items());
  EXPECT_EQ(tables[2]->State().removed_items(), queue_->State().inserted_items());
  EXPECT_EQ(restored->Info().writers_size(), 2);
  EXPECT_EQ(*WriteLastCheckpoint(*restored, directory_.path()), "") << "it has everything";
}

// The first item of each table that comes after the restore begins before it.
TEST_F(SharedRowsCheckpointTest, LanesGoOnForAllTables) {
  ASSERT_TRUE(Write(*shard_, "one").ok());
  const std::unique_ptr<Shard> restored = MakeShard();
  ASSERT_EQ(Restore(*restored), "one");
  const std::vector<Table*> tables = restored->Tables();
  const Table::OpenedWriter opened = tables[0]->OpenWriter(12, 1);
  ChunkBuilder builder(tables[0]->layout(), kPattern, kOthers);
  for (uint64_t row = 0; row < 36; ++row) {
    if (row == 33) builder.Build(1);
    builder.Append(0, TestRow(0, row).columns(), row == 21 ? v1::TERMINATED : v1::NOT_ENDED);
  }
  const uint64_t inserted[] = {tables[0]->State().inserted_items(), tables[1]->State().inserted_items(),
                               tables[2]->State().inserted_items()};
  ASSERT_TRUE(InsertInto(*tables[0], 12, opened.session, builder.Build(opened.last_sequence + 1)).ok());
  EXPECT_EQ(tables[0]->State().inserted_items() - inserted[0], 3u);
  EXPECT_EQ(tables[1]->State().inserted_items() - inserted[1], 3u);
  EXPECT_EQ(tables[2]->State().inserted_items() - inserted[2], 1u);
  EXPECT_EQ(tables[0]->State().lost_items() + tables[1]->State().lost_items() + tables[2]->State().lost_items(), 0u);
}

TEST_F(CheckpointTest, AFullDiskLeavesOlderFilesAlone) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "old", 1).ok());
  const std::string whole = *ReadFile(File("old"));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = Write(*shard, "new", 1).status();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("new.replay."));
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("old.replay"));
  EXPECT_EQ(*ReadFile(File("old")), whole);
  ASSERT_TRUE(Write(*shard, "new", 1).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("new.replay"));
}

TEST_F(CheckpointTest, KeepsAsManyAsAskedForAndAlwaysTheOneJustWritten) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  // Names that sort the other way round, faster than the clock of the file system.
  for (const char* name : {"9", "8", "7", "6"}) ASSERT_TRUE(Write(*shard, name, 2).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("6.replay", "7.replay"));
  ASSERT_TRUE(Write(*shard, "5", 0).ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("5.replay"));
}

// The shard has written its part when the learner has not yet committed the whole: files of attempts that fail used to
// push out those that the last manifest names.
TEST_F(CheckpointTest, AttemptsThatFailDoNotPushOutWhatIsCommitted) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(Write(*shard, name).ok());
  for (const char* name : {"d", "e", "f", "g"}) ASSERT_TRUE(Write(*shard, name, 2, "c").ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("b.replay", "c.replay", "f.replay", "g.replay"));
  ASSERT_TRUE(Write(*shard, "h", 2, "g").ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("f.replay", "g.replay", "h.replay"));
}

TEST_F(CheckpointTest, TheNewestIsTheOneWrittenLastWhateverTheFilesTimesSay) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  for (const char* name : {"a", "c", "b"}) ASSERT_TRUE(Write(*shard, name).ok());
  const auto later = std::filesystem::last_write_time(File("b")) + std::chrono::hours(1);
  std::filesystem::last_write_time(File("a"), later);
  EXPECT_EQ(Restore(*MakeShard()), "b");
}

// Its file, in which nothing is, would be newer than the one that the table is still to be filled from.
TEST_F(CheckpointTest, AShardThatHasNoTableYetSavesNothing) {
  EXPECT_TRUE(absl::IsUnavailable(Write(*MakeShard(), "one").status()));
  EXPECT_THAT(*ListDirectory(directory_.path()), IsEmpty());
}

TEST_F(CheckpointTest, RefusesNamesThatAreNoFileNames) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  for (const char* name : {"", "a/b", "..", "a b", "a.b", "\xc3\xa4"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Write(*shard, name).status())) << name;
  }
  EXPECT_TRUE(Write(*shard, "Step-1_000").ok());
}

TEST_F(CheckpointTest, RemovesWhatACrashHasLeft) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "one").ok());
  ASSERT_TRUE(WriteFileAtomically(File("two") + ".123.0.tmp", "HEADRACE").ok());
  EXPECT_EQ(Restore(*MakeShard()), "one");
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("one.replay"));
}

TEST_F(CheckpointTest, AnEmptyDirectoryRestoresNothing) {
  const std::unique_ptr<Shard> shard = MakeShard();
  EXPECT_EQ(Restore(*shard), "");
}

TEST_F(CheckpointTest, EveryLifeHasAHigherIncarnation) {
  const std::string directory = directory_.path() + "/shard-0";
  const uint64_t first = *NextIncarnation(directory);
  const uint64_t second = *NextIncarnation(directory);
  EXPECT_GT(second, first);
  // A directory that is new, or was lost, does not begin with numbers that there were before.
  EXPECT_GT(*NextIncarnation(directory_.path() + "/another"), second);
  // Nor does a clock that goes wrong bring them back.
  ASSERT_TRUE(WriteFileAtomically(directory + "/incarnation", "9000000000000000000\n").ok());
  EXPECT_EQ(*NextIncarnation(directory), 9000000000000000001u);
  ASSERT_TRUE(WriteFileAtomically(directory + "/incarnation", "seven").ok());
  EXPECT_GT(*NextIncarnation(directory), second) << "the clock is enough";
}

}  // namespace
}  // namespace headrace
