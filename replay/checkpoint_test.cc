#include "replay/checkpoint.h"

#include <sys/resource.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <limits>
#include <map>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/protocol.h"
#include "common/random.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint_file.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBudget = 4 << 20;

// Everything that a table and those over it hold, in words: items with their rows, and writers with their lanes' rows.
std::string Contents(Table& table) {
  const Table::Snapshot snapshot = table.TakeSnapshot();
  std::string text;
  const size_t bytes = table.layout().payload_bytes();
  const auto row = [&](RowStore::Address address) {
    return absl::BytesToHexString({reinterpret_cast<const char*>(table.rows().Row(address)) + 4, bytes});
  };
  for (const auto& [spec, state, items] : snapshot.tables) {
    absl::StrAppendFormat(&text, "%s: %d steps, %d items, %d sampled, %d removed, %d lost, priorities up to %g\n",
                          spec.name(), state.inserted_steps(), state.inserted_items(), state.sampled_items(),
                          state.removed_items(), state.lost_chunks(), state.max_priority());
    for (const Item& item : items) {
      absl::StrAppend(&text, "item sampled ", item.times_sampled, ", priority ", item.priority, ":");
      RowStore::Address address = item.first_row;
      for (uint16_t i = 0; i < item.rows; ++i, address = table.rows().Next(address))
        absl::StrAppend(&text, " ", row(address));
      text += "\n";
    }
  }
  std::map<uint64_t, std::string> writers;
  for (v1::WriterCheckpoint writer : snapshot.writers) {
    std::map<uint32_t, std::string> lanes;
    for (v1::LaneCheckpoint& lane : *writer.mutable_lanes()) {
      std::string window;
      for (const uint64_t address : lane.window()) absl::StrAppend(&window, " ", row(static_cast<uint32_t>(address)));
      lane.clear_window();
      lanes[lane.lane()] = lane.ShortDebugString() + window;
    }
    writer.clear_lanes();
    std::string& out = writers[writer.writer()];
    out = writer.ShortDebugString();
    for (const auto& [number, lane] : lanes) absl::StrAppend(&out, "\n  ", lane);
  }
  for (const auto& [id, writer] : writers) absl::StrAppend(&text, writer, "\n");
  return text;
}

// A checkpoint file without its magic and checksum.
struct Parts {
  v1::ReplayCheckpointHeader header;
  std::string body;
};

constexpr size_t kTablesAt = 24;  // after the magic and what says where the header is
constexpr size_t kEndBytes = 16;  // the header's length and the checksum
constexpr size_t kHeaderChecksumBytes = 8;

Parts Split(const std::string& file) {
  uint64_t header_bytes;
  const size_t header_end = file.size() - kEndBytes;
  std::memcpy(&header_bytes, file.data() + header_end, sizeof(header_bytes));
  const size_t header_at = header_end - kHeaderChecksumBytes - header_bytes;
  Parts parts;
  EXPECT_TRUE(parts.header.ParseFromString(file.substr(header_at, header_bytes)));
  parts.body = file.substr(kTablesAt, header_at - kTablesAt);
  return parts;
}

// As a program of the header's format would have written it.
std::string Join(const Parts& parts) {
  const std::string header = parts.header.SerializeAsString();
  std::string file(kCheckpointMagic);
  const auto append_number = [&](uint64_t number) {
    file.append(reinterpret_cast<const char*>(&number), sizeof(number));
  };
  if (parts.header.format() > kNewestFormatWithHeaderFirst) {
    append_number(kHeaderIsLast);
    file += parts.body + header;
    append_number(Checksum(header));
    append_number(header.size());
  } else {
    append_number(header.size());
    file += header + parts.body;
  }
  const uint64_t checksum = Checksum(file);
  file.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return file;
}

class CheckpointTest : public testing::Test {
 protected:
  static std::unique_ptr<Shard> MakeShard() { return std::make_unique<Shard>(3, kBudget, 1); }
  // A table with items of 4 rows, some sampled, some removed, from two writers in the middle of episodes.
  std::unique_ptr<Shard> MakeFullShard() {
    std::unique_ptr<Shard> shard = MakeShard();
    v1::TableSpec spec = TestSpec();
    spec.set_max_items(40);
    Table& table = **shard->CreateTable(MakePeer("run", "learner"), spec);
    TestWriter first(&table, 11, {.rows = 4, .stride = 2});
    TestWriter second(&table, 12, {.rows = 4, .stride = 2}, 5);
    for (int i = 0; i < 6; ++i) {
      first.Append(0, 10, i % 2 == 0 ? v1::TERMINATED : v1::NOT_ENDED);
      first.Append(1, 3);
      EXPECT_TRUE(first.Insert().ok());
      second.Append(0, 5);
      EXPECT_TRUE(second.Insert().ok());
    }
    Table::Batch batch;
    EXPECT_TRUE(table.Sample({30, 1, 1}, batch, {&table, [] {}}).ok());
    for (const ItemStore::Drawn& item : batch.items()) {
      EXPECT_TRUE(table.UpdatePriorities(1, {{item.key}}, {{0.5f + static_cast<float>(item.first_row)}}).ok());
    }
    return shard;
  }
  absl::StatusOr<v1::CheckpointResponse> Write(const Shard& shard, const std::string& name, uint32_t keep = 10,
                                               const std::string& committed = "") {
    v1::CheckpointRequest request;
    request.set_name(name);
    request.set_keep(keep);
    request.set_committed(committed);
    return WriteCheckpoint(shard, directory_.path(), request);
  }
  // The name of the checkpoint that a new shard restores.
  std::string Restore(Shard& shard) {
    const absl::StatusOr<std::string> name = RestoreNewest(directory_.path(), shard);
    EXPECT_TRUE(name.ok()) << name.status();
    return name.value_or("");
  }
  std::string File(const std::string& name) const { return directory_.path() + "/" + name + ".replay"; }

  TestDirectory directory_;
};

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

// Wherever a bit of the header has flipped, also where it says which of the files is the newest, or of how many shards.
TEST_F(CheckpointTest, ADamagedHeaderIsReportedAndTheOneBeforeRestored) {
  Shard shard(3, kBudget, 1, 1);
  TestWriter writer(*shard.CreateTable(MakePeer("run", "learner"), TestSpec()), 11);
  writer.Append(0, 10);
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_TRUE(Write(shard, "old").ok());
  ASSERT_TRUE(Write(shard, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  const size_t header_bytes = Split(whole).header.ByteSizeLong();
  for (size_t bit = 0; bit < 8 * header_bytes; ++bit) {
    std::string damaged = whole;
    damaged[whole.size() - kEndBytes - kHeaderChecksumBytes - header_bytes + bit / 8] ^= 1 << bit % 8;
    ASSERT_TRUE(WriteFileAtomically(File("new"), damaged).ok());
    Shard restored(3, kBudget, 2, 1);
    testing::internal::CaptureStderr();
    ASSERT_EQ(Restore(restored), "old") << bit;
    ASSERT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("new.replay is not usable")) << bit;
  }
}

// A header that is the first has no checksum of its own.
TEST_F(CheckpointTest, OfAnOlderFormatDamageIsNotTakenForAnotherNumberOfShards) {
  Shard shard(3, kBudget, 1, 1);
  ASSERT_TRUE(shard.CreateTable(MakePeer("run", "learner"), TestSpec()).ok());
  ASSERT_TRUE(Write(shard, "old").ok());
  ASSERT_TRUE(Write(shard, "new").ok());
  Parts parts = Split(*ReadFile(File("new")));
  parts.header.set_format(kNewestFormatWithHeaderFirst);
  parts.header.set_shards(3);
  std::string file = Join(parts);
  ASSERT_TRUE(WriteFileAtomically(File("new"), file).ok());
  Shard spread(3, kBudget, 2, 1);
  EXPECT_EQ(Restore(spread), "") << "it is whole, and of three shards";
  file.back() ^= 1;
  ASSERT_TRUE(WriteFileAtomically(File("new"), file).ok());
  Shard restored(3, kBudget, 2, 1);
  EXPECT_EQ(Restore(restored), "old");
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
  const std::unique_ptr<Shard> restored = MakeShard();
  EXPECT_EQ(Restore(*restored), last);
  EXPECT_EQ(Contents(*restored->Tables()[0]), Contents(table));
  EXPECT_EQ(restored->Tables()[0]->State().inserted_steps(), 20u);
  EXPECT_EQ(*WriteLastCheckpoint(*restored, directory_.path()), "") << "it has only what it began with";
  // To be sampled is something, too. Of the ends of lives that one stays which a life began with.
  std::string begun_with = last;
  for (const uint64_t life : {5, 6}) {
    Shard next(3, kBudget, life);
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
  Shard another(3, kBudget, 2);
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

// A table "t", and over its rows "a", whose name comes first, and a queue.
class SharedRowsCheckpointTest : public CheckpointTest {
 protected:
  SharedRowsCheckpointTest() {
    v1::TableSpec spec = TestSpec();
    spec.set_max_items(20);
    table_ = *shard_->CreateTable(MakePeer("run", "learner"), spec);
    spec = SpecOver("a");
    spec.set_sampler(v1::PROPORTIONAL);
    spec.set_max_items(30);
    other_ = *shard_->CreateTable(MakePeer("run", "learner"), spec);
    spec = SpecOver("queue");
    spec.set_queue(true);
    spec.set_max_items(1000);
    spec.set_max_times_sampled(1);
    queue_ = *shard_->CreateTable(MakePeer("run", "learner"), spec);
    for (const uint64_t id : {11, 12}) {
      TestWriter writer(table_, id, kPattern, 1, kOthers);
      for (const v1::EpisodeEnd end : {v1::NOT_ENDED, v1::TERMINATED, v1::NOT_ENDED}) {
        writer.Append(0, 11, end);
        EXPECT_TRUE(writer.Insert().ok());
      }
    }
    Table::Batch batch;
    EXPECT_TRUE(other_->Sample({25, 1, 1}, batch, {&batch, [] {}}).ok());
    for (const ItemStore::Drawn& item : batch.items()) {
      EXPECT_TRUE(other_->UpdatePriorities(1, {{item.key}}, {{0.5f + static_cast<float>(item.first_row)}}).ok());
    }
  }

  const ItemPattern kPattern = {.rows = 2, .stride = 1};
  const std::vector<TablePattern> kOthers = {{"a", {.rows = 4, .stride = 1}}, {"queue", {.rows = 3, .stride = 3}}};
  const std::unique_ptr<Shard> shard_ = MakeShard();
  Table* table_;
  Table* other_;
  Table* queue_;
};

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

TEST_F(SharedRowsCheckpointTest, DamagedFilesArePassedOver) {
  ASSERT_TRUE(Write(*shard_, "old").ok());
  ASSERT_TRUE(Write(*shard_, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  for (size_t i = 0; i < whole.size(); i += 97) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    ASSERT_TRUE(WriteFileAtomically(File("new"), damaged).ok());
    const std::unique_ptr<Shard> restored = MakeShard();
    ASSERT_EQ(Restore(*restored), "old") << i;
    ASSERT_EQ(restored->Tables().size(), 3u);
  }
}

TEST_F(SharedRowsCheckpointTest, WhatDoesNotFitTogetherIsRefused) {
  ASSERT_TRUE(Write(*shard_, "new").ok());
  const Parts whole = Split(*ReadFile(File("new")));
  const auto restored = [&](const v1::ReplayCheckpointHeader& header, const std::string& body) {
    EXPECT_TRUE(WriteFileAtomically(File("new"), Join({header, body})).ok());
    return !Restore(*MakeShard()).empty();
  };
  ASSERT_TRUE(restored(whole.header, whole.body));
  using Header = v1::ReplayCheckpointHeader;
  const std::vector<std::pair<std::string, std::function<void(Header&)>>> changes = {
      {"a table before the one that it is over", [](Header& h) { h.mutable_tables()->SwapElements(0, 1); }},
      {"a table over one that is not there",
       [](Header& h) { h.mutable_tables(1)->mutable_spec()->set_over("elsewhere"); }},
      {"a table over itself", [](Header& h) { h.mutable_tables(1)->mutable_spec()->set_over("a"); }},
      {"a table over one that is over another", [](Header& h) { h.mutable_tables(2)->mutable_spec()->set_over("a"); }},
      {"a table over another with rows", [](Header& h) { h.mutable_tables(1)->set_rows(1); }},
      {"a table over another without its name", [](Header& h) { h.mutable_tables(1)->mutable_spec()->clear_over(); }},
      {"a writer to a table over another", [](Header& h) { h.mutable_writers(0)->set_table("a"); }},
      {"longer items than those of the rows",
       [](Header& h) { h.mutable_tables(1)->mutable_spec()->set_max_item_rows(5); }},
      {"more items than the file has", [](Header& h) { h.mutable_tables(2)->set_items(1); }},
  };
  for (const auto& [what, change] : changes) {
    Header changed = whole.header;
    change(changed);
    EXPECT_FALSE(restored(changed, whole.body)) << what;
  }
  std::string body = whole.body;
  const auto rows = static_cast<uint32_t>(whole.header.tables(0).rows());
  std::memcpy(body.data() + body.size() - sizeof(ItemRecord), &rows, sizeof(rows));
  EXPECT_FALSE(restored(whole.header, body)) << "an item of a table over another, of a row that is not there";
}

TEST_F(CheckpointTest, DamagedFilesArePassedOver) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "old").ok());
  ASSERT_TRUE(Write(*shard, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  const auto restored_from = [&](const std::string& bytes) {
    EXPECT_TRUE(WriteFileAtomically(File("new"), bytes).ok());
    const std::unique_ptr<Shard> restored = MakeShard();
    return Restore(*restored);
  };
  EXPECT_EQ(restored_from(whole), "new");
  // Many lengths and bytes of the magic and the header, and some of the rest.
  const auto step = [&](size_t i) { return i < kTablesAt || i + 1000 > whole.size() ? 7 : 211; };
  for (size_t size = 0; size < whole.size(); size += step(size)) {
    ASSERT_EQ(restored_from(whole.substr(0, size)), "old") << size;
  }
  for (size_t i = 0; i < whole.size(); i += step(i)) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    ASSERT_EQ(restored_from(damaged), "old") << i;
  }
  EXPECT_EQ(restored_from(whole + "x"), "old");
  for (const uint64_t length : {uint64_t{0}, uint64_t{whole.size()}, std::numeric_limits<uint64_t>::max()}) {
    std::string wrong = whole;
    std::memcpy(wrong.data() + wrong.size() - kEndBytes, &length, sizeof(length));
    EXPECT_EQ(restored_from(wrong), "old") << "a header of " << length << " bytes";
  }
}

// A checksum shows damage; a file that was made wrong has a right one. Every number in it is looked at.
TEST_F(CheckpointTest, WrongContentsWithARightChecksumAreRefused) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "new").ok());
  const std::string whole = *ReadFile(File("new"));
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kSampling);
  for (int i = 0; i < 200; ++i) {
    std::string wrong = whole.substr(0, whole.size() - 8);
    // In the header, and anywhere.
    for (const size_t size : {size_t{800}, wrong.size()}) {
      wrong[wrong.size() - 1 - random.Below(size)] = static_cast<char>(random());
    }
    const uint64_t checksum = Checksum(wrong);
    wrong.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    ASSERT_TRUE(WriteFileAtomically(File("new"), wrong).ok());
    const std::unique_ptr<Shard> restored = MakeShard();
    Restore(*restored);
    // What is taken can be used.
    for (Table* const table : restored->Tables()) {
      if (!table->spec().over().empty()) continue;
      Contents(*table);
      TestWriter writer(table, 1000);
      writer.Append(0, 100);
      writer.Insert().IgnoreError();
    }
  }
}

// Each of the things that docs/formats/replay.md says is refused, in a file that is otherwise whole.
TEST_F(CheckpointTest, WhatDoesNotFitTogetherIsRefused) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "new").ok());
  Parts whole = Split(*ReadFile(File("new")));
  v1::ReplayCheckpointHeader& header = whole.header;
  const std::string& body = whole.body;
  const auto restored = [&](const v1::ReplayCheckpointHeader& changed, const std::string& changed_body) {
    EXPECT_TRUE(WriteFileAtomically(File("new"), Join({changed, changed_body})).ok());
    const std::unique_ptr<Shard> empty = MakeShard();
    const std::string name = Restore(*empty);
    EXPECT_EQ(empty->Tables().size(), name.empty() ? 0u : 1u);
    return !name.empty();
  };
  ASSERT_TRUE(restored(header, body));

  using Header = v1::ReplayCheckpointHeader;
  const auto lane = [](Header& h) { return h.mutable_writers(0)->mutable_lanes(0); };
  ASSERT_GE(lane(header)->window_size(), 2);
  const std::vector<std::pair<std::string, std::function<void(Header&)>>> changes = {
      {"a later format", [](Header& h) { h.set_format(kCheckpointFormat + 1); }},
      {"no format", [](Header& h) { h.clear_format(); }},
      {"the sizes of another format", [](Header& h) { h.set_format(1); }},
      {"more rows than the file has", [](Header& h) { h.mutable_tables(0)->set_rows(h.tables(0).rows() + 1); }},
      {"fewer rows than the file has", [](Header& h) { h.mutable_tables(0)->set_rows(h.tables(0).rows() - 1); }},
      {"more rows than fit", [](Header& h) { h.mutable_tables(0)->set_rows(uint64_t{1} << 62); }},
      {"size of a row", [](Header& h) { h.mutable_tables(0)->set_row_bytes(h.tables(0).row_bytes() + 4); }},
      {"more items than the file has", [](Header& h) { h.mutable_tables(0)->set_items(h.tables(0).items() + 1); }},
      {"more items than a file can have", [](Header& h) { h.mutable_tables(0)->set_items(uint64_t{1} << 62); }},
      {"budget", [](Header& h) { h.mutable_tables(0)->mutable_spec()->set_max_bytes(kBudget + 1); }},
      {"the same table twice", [](Header& h) { *h.add_tables() = Header(h).tables(0); }},
      {"the same writer twice", [](Header& h) { *h.add_writers() = Header(h).writers(0); }},
      {"a lane's row that is not there", [&](Header& h) { lane(h)->set_window(1, h.tables(0).rows()); }},
      {"a lane's rows in another order", [&](Header& h) { lane(h)->mutable_window()->SwapElements(0, 1); }},
      {"a lane with more rows than it had", [&](Header& h) { lane(h)->set_next_row(1); }},
      // The next chunk would have taken rows out of an empty window.
      {"a lane whose episode starts after its newest row",
       [&](Header& h) {
         lane(h)->set_in_episode(true);
         lane(h)->set_episode_first_row(lane(h)->next_row() + 100);
       }},
      // The next chunk would have linked its rows into items that go on otherwise.
      {"a lane that ends before its newest row", [&](Header& h) { lane(h)->mutable_window()->RemoveLast(); }},
      {"two lanes with one newest row",
       [&](Header& h) { (*h.mutable_writers(0)->add_lanes() = *lane(h)).set_lane(99); }},
      {"a highest priority that is none",
       [](Header& h) {
         h.mutable_tables(0)->mutable_state()->set_max_priority(std::numeric_limits<float>::infinity());
       }},
  };
  for (const auto& [what, change] : changes) {
    Header changed = header;
    change(changed);
    EXPECT_FALSE(restored(changed, body)) << what;
  }

  const auto with = [&](size_t offset, auto value) {
    std::string changed = body;
    std::memcpy(changed.data() + offset, &value, sizeof(value));
    return changed;
  };
  const uint32_t rows = static_cast<uint32_t>(header.tables(0).rows());
  const size_t item = body.size() - sizeof(ItemRecord);  // the newest
  EXPECT_FALSE(restored(header, with(0, rows))) << "a link that leads nowhere";
  EXPECT_FALSE(restored(header, with(item, rows))) << "an item's first row that is not there";
  EXPECT_FALSE(restored(header, with(item + 4, uint16_t{0}))) << "an item without rows";
  EXPECT_FALSE(restored(header, with(item + 4, uint16_t{60000}))) << "an item of more rows than follow";
  EXPECT_FALSE(restored(header, with(item + 8, -1.0f))) << "an item with a priority that is none";
  EXPECT_TRUE(restored(header, with(item + 6, uint16_t{7}))) << "how often it was sampled is free";
}

// A file of a few kilobytes that announces as many rows as the table may hold took the memory for them first.
TEST_F(CheckpointTest, RowsThatAreNotThereTakeNoMemory) {
  constexpr uint64_t kLargeBudget = 1 << 30;
  ASSERT_TRUE(Write(*MakeFullShard(), "new").ok());
  Parts parts = Split(*ReadFile(File("new")));
  v1::TableCheckpoint& table = *parts.header.mutable_tables(0);
  table.mutable_spec()->set_max_bytes(kLargeBudget);
  table.set_rows(kLargeBudget / 2 / table.row_bytes());
  ASSERT_TRUE(WriteFileAtomically(File("new"), Join(parts)).ok());
  const auto peak_kilobytes = [] {
    rusage usage;
    EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
  };
  const long before = peak_kilobytes();
  Shard restored(3, kLargeBudget, 1);
  EXPECT_EQ(Restore(restored), "");
  EXPECT_LT(peak_kilobytes() - before, 100 << 10);
}

TEST_F(CheckpointTest, ItemsOfOlderFilesGetWhatTheyHadNot) {
  const std::unique_ptr<Shard> shard = MakeFullShard();
  ASSERT_TRUE(Write(*shard, "new").ok());
  Parts parts = Split(*ReadFile(File("new")));
  const v1::TableCheckpoint& table = parts.header.tables(0);
  const size_t items_at = table.rows() * table.row_bytes();
  const std::string records = parts.body.substr(items_at);
  for (uint32_t format = kOldestCheckpointFormat; format <= kNewestFormatWithHeaderFirst; ++format) {
    // The same as it was written then.
    parts.body.resize(items_at);
    for (uint64_t i = 0; i < table.items(); ++i) {
      parts.body += records.substr(i * sizeof(ItemRecord), ItemBytes(format));
    }
    parts.header.set_format(format);
    ASSERT_TRUE(WriteFileAtomically(File("new"), Join(parts)).ok());

    const std::unique_ptr<Shard> restored = MakeShard();
    EXPECT_EQ(Restore(*restored), "new") << format;
    const Table::Snapshot snapshot = restored->Tables()[0]->TakeSnapshot();
    ASSERT_EQ(snapshot.tables[0].items.size(), table.items());
    const char* next = records.data();
    for (const Item& item : snapshot.tables[0].items) {
      ItemRecord record;
      std::memcpy(&record, next, sizeof(record));
      next += sizeof(record);
      EXPECT_EQ(item.priority, format == 1 ? 1 : record.priority);
      EXPECT_EQ(item.rows, record.rows);
      EXPECT_EQ(item.context, 0u);
    }
  }
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
