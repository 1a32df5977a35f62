#include "replay/journal.h"

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>

#include "absl/strings/str_cat.h"
#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/file.h"
#include "common/grpc_server.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/chunk_builder.h"
#include "replay/journal_format.h"
#include "replay/journal_replay.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class JournalTest : public testing::Test {
 protected:
  JournalTest() { CreateTable(shard_); }

  static void CreateTable(TestShard& shard) {
    ASSERT_TRUE(shard.shard().CreateTable(MakePeer("run", "learner"), TestSpec()).ok());
  }
  std::unique_ptr<ReplayWriter> StartWriter() { return *ReplayWriter::Start(TestWriterOptions(shard_.address())); }
  // Over the rows of the table there is.
  Table* CreateQueue(uint64_t max_items) {
    v1::TableSpec spec = SpecOver("queue");
    spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
    spec.set_queue(true);
    spec.set_max_items(max_items);
    spec.set_max_times_sampled(1);
    return *shard_.shard().CreateTable(MakePeer("run", "learner"), spec);
  }
  std::unique_ptr<ReplayWriter> StartWriterToTheQueueToo() {
    ReplayWriterOptions options = TestWriterOptions(shard_.address());
    options.others = {{"queue", {}}};
    return *ReplayWriter::Start(options);
  }
  // A writer's stream without ReplayWriter, which decides what comes in which chunk.
  struct Stream {
    uint64_t acknowledged = 0;
    std::promise<absl::Status> closed;
    std::unique_ptr<ClientStream> stream;
  };
  std::unique_ptr<Stream> OpenStream() {
    auto opened = std::make_unique<Stream>();
    opened->stream = ClientStream::Open(
        MakeChannel(shard_.address()), "/headrace.v1.Replay/Insert",
        {.message =
             [stream = opened.get()](const grpc::ByteBuffer& message) {
               v1::InsertResponse response;
               EXPECT_TRUE(FromByteBuffer(message, response).ok());
               stream->acknowledged = response.acknowledged();
             },
         .closed = [stream = opened.get()](const absl::Status& status) { stream->closed.set_value(status); }});
    v1::InsertRequest open;
    *open.mutable_open()->mutable_peer() = MakePeer("run", "actor");
    open.mutable_open()->set_writer(5);
    open.mutable_open()->set_table("t");
    *open.mutable_open()->mutable_signature() = TestSignature();
    opened->stream->Send(ToByteBuffer(open));
    return opened;
  }
  void Checkpoint(const std::string& name) {
    v1::CheckpointRequest request;
    request.set_name(name);
    request.set_keep(1);
    ASSERT_TRUE(WriteCheckpoint(shard_.shard(), directory_.path(), request).ok());
  }
  // What is on disk now, as somebody finds it who comes after a kill.
  std::string CopyOfTheDirectory() {
    const std::string copy = absl::StrCat(other_.path(), "/copy", ++copies_);
    std::filesystem::copy(directory_.path(), copy);
    return copy;
  }

  TestDirectory directory_;
  TestDirectory other_;
  int copies_ = 0;
  TestShard shard_{0, directory_.path(), true};
};

TEST_F(JournalTest, WhatWasAcknowledgedIsThereAfterAKill) {
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  EpisodeWriter episodes(writer.get());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(episodes.Write(i % 3, 1 + i % 7).ok());
  ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  const v1::TableState before = shard_.table().State();

  TestShard after(0, CopyOfTheDirectory(), true);
  EXPECT_EQ(after.table().State().inserted_steps(), before.inserted_steps());
  EXPECT_EQ(after.table().State().items(), before.items());
  EXPECT_EQ(after.table().State().lost_chunks(), 0u);
  EXPECT_EQ(after.table().Writers().at(0).last_sequence(), shard_.table().Writers().at(0).last_sequence());
}

// Of writers that died in the middle of an episode the newest rows are kept, each in another part of the table;
// restored as if they all were there still, they once left no room, and the table came back empty.
TEST_F(JournalTest, WritersThatDiedAreManyMoreThanTheTableHasRoomForTheirEpisodes) {
  for (uint64_t id = 1; id <= 40; ++id) {
    ReplayWriterOptions options = TestWriterOptions(shard_.address(), id);
    options.chunk_rows = 500;
    const std::unique_ptr<ReplayWriter> writer = *ReplayWriter::Start(options);
    EpisodeWriter episodes(writer.get());
    for (int step = 0; step < 2500; ++step) ASSERT_TRUE(episodes.WriteStep(0).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
  }
  const v1::TableState before = shard_.table().State();
  EXPECT_EQ(before.inserted_steps(), 100'000u);
  EXPECT_GT(before.items(), 10'000u);

  TestShard after(0, CopyOfTheDirectory(), true);
  EXPECT_EQ(after.table().State().inserted_steps(), before.inserted_steps());
  EXPECT_EQ(after.table().State().items(), before.items());
}

// Started with a smaller budget, it once served an empty table, and its first checkpoint removed the journal.
TEST_F(JournalTest, AJournalWhoseTableDoesNotFitStopsTheStart) {
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  EpisodeWriter episodes(writer.get());
  ASSERT_TRUE(episodes.Write(0, 5).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  Shard smaller(0, 1000, 2);
  const absl::Status status = RestoreNewest(CopyOfTheDirectory(), smaller).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("start with what it had"));
}

TEST_F(JournalTest, AWriterGoesOnWhereItWas) {
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  EpisodeWriter episodes(writer.get());
  for (int life = 0; life < 3; ++life) {
    for (int step = 0; step < 5; ++step) ASSERT_TRUE(episodes.WriteStep(0).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
    shard_.Restart();
  }
  ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  const v1::TableState state = shard_.table().State();
  EXPECT_EQ(state.inserted_steps(), 16u);
  EXPECT_EQ(state.items(), 15u) << "transitions across the restarts, too";
  EXPECT_EQ(state.lost_chunks() + state.lost_items(), 0u);
}

// The end of the stream comes while the disk is busy: the last answer must not be lost in it.
TEST_F(JournalTest, AWriterThatHasFinishedStillHearsOfAllItsChunks) {
  constexpr uint64_t kChunks = 20;
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {});
  uint64_t last = 0;
  for (int attempt = 0; attempt < 50; ++attempt) {
    const std::unique_ptr<Stream> opened = OpenStream();
    for (uint64_t chunk = 0; chunk < kChunks; ++chunk) {
      const TestRow row(0, last);
      builder.Append(0, row.columns(), v1::NOT_ENDED);
      const grpc::Slice message = builder.Build(++last);
      opened->stream->Send(grpc::ByteBuffer(&message, 1));
    }
    opened->stream->FinishSending();
    EXPECT_TRUE(opened->closed.get_future().get().ok());
    ASSERT_EQ(opened->acknowledged, last) << attempt;
  }
}

TEST_F(JournalTest, ACheckpointMakesOldFilesSuperfluous) {
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  EpisodeWriter episodes(writer.get());
  const auto write = [&](uint32_t steps) {
    ASSERT_TRUE(episodes.Write(0, steps).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
  };
  write(10);
  EXPECT_THAT(Journal::Files(directory_.path()), ElementsAre(1));
  Checkpoint("a");
  write(20);
  EXPECT_THAT(Journal::Files(directory_.path()), ElementsAre(2));
  TestShard after(0, CopyOfTheDirectory(), true);
  EXPECT_EQ(after.shard().restored_from(), "a");
  EXPECT_EQ(after.table().State().inserted_steps(), 30u);
  EXPECT_EQ(after.table().State().items(), 30u) << "none twice";

  // Without a journal from here on: what is left of it counts until the next checkpoint, and no number comes again.
  const std::string later = CopyOfTheDirectory();
  TestShard without(0, later);
  EXPECT_EQ(without.table().State().inserted_steps(), 30u);
  v1::CheckpointRequest request;
  request.set_name("b");
  request.set_keep(1);
  ASSERT_TRUE(WriteCheckpoint(without.shard(), later, request).ok());
  EXPECT_THAT(Journal::Files(later), ElementsAre());
  EXPECT_GT(NewestJournalFile(later), 2u);
}

// "a" is over the rows of "t", and its name comes first.
TEST_F(JournalTest, TablesOverTheSameRowsComeBackTogether) {
  const auto create = [&](v1::TableSpec spec) {
    ASSERT_TRUE(shard_.shard().CreateTable(MakePeer("run", "learner"), spec).ok());
  };
  create(SpecOver("a"));
  ReplayWriterOptions options = TestWriterOptions(shard_.address());
  options.others = {{"a", {.rows = 4, .stride = 2}}};
  const std::unique_ptr<ReplayWriter> writer = *ReplayWriter::Start(options);
  EpisodeWriter episodes(writer.get());
  const auto expect_same = [&](TestShard& after) {
    const std::vector<Table*> tables = after.shard().Tables();
    ASSERT_EQ(tables.size(), 2u);
    for (Table* const table : tables) {
      const v1::TableState before = (*shard_.shard().FindTable(table->spec().name()))->State();
      EXPECT_EQ(table->State().inserted_steps(), before.inserted_steps());
      EXPECT_EQ(table->State().items(), before.items());
      EXPECT_EQ(table->State().lost_chunks() + table->State().lost_items(), 0u);
    }
    EXPECT_EQ(tables[1]->spec().over(), "t");
  };
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(episodes.Write(i % 3, 1 + i % 7).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  TestShard after(0, CopyOfTheDirectory(), true);
  expect_same(after);
  // And what follows a checkpoint: an item of the other table reaches back over it.
  Checkpoint("one");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  const std::string copy = CopyOfTheDirectory();
  TestShard later(0, copy, true);
  EXPECT_EQ(later.shard().restored_from(), "one");
  expect_same(later);
  // The newest file has both tables, without those before it.
  std::filesystem::remove(copy + "/one.replay");
  TestShard newest(0, copy, true);
  ASSERT_EQ(newest.shard().Tables().size(), 2u);
  EXPECT_EQ(newest.table().State().inserted_steps(), 3u);
}

// What a queue held had been sampled, and made room; of that the journal knows nothing.
TEST_F(JournalTest, AQueueThatWasFullLosesNoSteps) {
  Table* const queue = CreateQueue(4);
  const std::unique_ptr<ReplayWriter> writer = StartWriterToTheQueueToo();
  EpisodeWriter episodes(writer.get());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(episodes.Write(0, 4).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
    Table::Batch batch;
    ASSERT_EQ(*queue->Sample({4, 1, 1}, batch, {&batch, [] {}}), Table::Outcome::kDone);
  }
  TestShard after(0, CopyOfTheDirectory(), true);
  EXPECT_EQ(after.table().State().inserted_steps(), 40u);
  EXPECT_EQ(after.table().State().items(), 40u);
  Table& again = *after.shard().Tables().at(1);
  EXPECT_EQ(again.State().lost_chunks(), 0u);
  EXPECT_GE(again.State().items(), 4u) << "they may come again";
  EXPECT_EQ(again.StepsToLimit(), 0u) << "from now on it waits";
}

// The journal's files of before a checkpoint go with it: what a queue still held then is in the checkpoint.
TEST_F(JournalTest, AQueueLosesNothingOverACheckpoint) {
  Table* const queue = CreateQueue(100);
  const std::unique_ptr<ReplayWriter> writer = StartWriterToTheQueueToo();
  EpisodeWriter episodes(writer.get());
  ASSERT_TRUE(episodes.Write(0, 5).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  Table::Batch batch;
  ASSERT_EQ(*queue->Sample({2, 1, 1}, batch, {&batch, [] {}}), Table::Outcome::kDone);
  Checkpoint("a");
  ASSERT_TRUE(episodes.Write(0, 4).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  TestShard after(0, CopyOfTheDirectory(), true);
  EXPECT_EQ(after.shard().Tables().at(1)->State().items(), 7u) << "of the 5 before the checkpoint 2 had been sampled";
}

TEST_F(JournalTest, WhatCameAfterACheckpointIsNotLostToAnotherNumberOfShards) {
  TestShard three(0, other_.path(), true, 3);
  CreateTable(three);
  const std::unique_ptr<ReplayWriter> writer = *ReplayWriter::Start(TestWriterOptions(three.address()));
  EpisodeWriter episodes(writer.get());
  ASSERT_TRUE(episodes.Write(0, 10).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  v1::CheckpointRequest request;
  request.set_name("a");
  ASSERT_TRUE(WriteCheckpoint(three.shard(), other_.path(), request).ok());
  Shard two(0, 64 << 20, 9, 2);
  EXPECT_TRUE(RestoreNewest(other_.path(), two).ok()) << "the learner spreads it";
  ASSERT_TRUE(episodes.Write(0, 10).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  const absl::Status refused = RestoreNewest(other_.path(), two).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("a is of 3 shards, now there are 2"), HasSubstr("with replay.shards: 3 once")));
  three.Restart();
  EXPECT_EQ(three.table().State().inserted_steps(), 20u);
}

TEST_F(JournalTest, ADamagedCheckpointFallsBackToTheOneBeforeAndItsJournal) {
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  EpisodeWriter episodes(writer.get());
  v1::CheckpointRequest request;
  request.set_keep(2);
  for (const char* const name : {"a", "b"}) {
    ASSERT_TRUE(episodes.Write(0, 10).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
    request.set_name(name);
    ASSERT_TRUE(WriteCheckpoint(shard_.shard(), directory_.path(), request).ok());
  }
  ASSERT_TRUE(episodes.Write(0, 10).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  const std::string copy = CopyOfTheDirectory();
  std::filesystem::resize_file(copy + "/b.replay", std::filesystem::file_size(copy + "/b.replay") - 1);
  TestShard after(0, copy, true);
  EXPECT_EQ(after.shard().restored_from(), "a");
  EXPECT_EQ(after.table().State().inserted_steps(), 30u);
}

TEST_F(JournalTest, EndsWhereAnEntryIsCutOffOrDamaged) {
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  EpisodeWriter episodes(writer.get());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(episodes.Write(0, 3).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
  }
  const std::string whole = *ReadFile(Journal::Path(directory_.path(), 1));
  const std::string path = Journal::Path(other_.path(), 1);
  const auto restored = [&](const std::string& bytes) {
    EXPECT_TRUE(WriteFileAtomically(path, bytes).ok());
    Shard shard(0, 1 << 30, 1);
    const absl::StatusOr<uint64_t> steps = ReplayJournal(other_.path(), 0, shard);
    EXPECT_TRUE(steps.ok()) << steps.status();
    return steps.value_or(0);
  };
  EXPECT_EQ(restored(whole), 15u);
  uint64_t last = 0;
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const uint64_t steps = restored(whole.substr(0, bytes));
    EXPECT_GE(steps, last);
    EXPECT_LT(steps, 15u);
    last = steps;
  }
  EXPECT_GE(last, 12u) << "all but the last chunk, which has no more than an episode";
  for (size_t byte = kJournalMagic.size(); byte < whole.size(); byte += 7) {
    std::string damaged = whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 4);
    EXPECT_LT(restored(damaged), 15u) << byte;
  }
  ASSERT_TRUE(WriteFileAtomically(path, whole).ok());
  Shard interrupted(0, 1 << 30, 1);
  int asked = 0;
  EXPECT_TRUE(absl::IsCancelled(ReplayJournal(other_.path(), 0, interrupted, [&] { return ++asked == 3; }).status()));
  EXPECT_EQ(asked, 3);
  ASSERT_TRUE(WriteFileAtomically(path, "some other file of that name").ok());
  Shard shard(0, 1 << 30, 1);
  EXPECT_TRUE(absl::IsDataLoss(ReplayJournal(other_.path(), 0, shard).status()));
}

// A limit on the size of files stands in for a full disk.
TEST_F(JournalTest, AFullDiskHoldsAcknowledgementsBackAndLosesNothing) {
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  EpisodeWriter episodes(writer.get());
  ASSERT_TRUE(episodes.Write(0, 10).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  rlimit full = before;
  full.rlim_cur = 64 << 10;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  ASSERT_TRUE(episodes.Write(0, 5000).ok());  // of 21 bytes and more
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(writer->Drain(std::chrono::steady_clock::now() + std::chrono::milliseconds(300))));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  TestShard after(0, CopyOfTheDirectory(), true);
  EXPECT_EQ(after.table().State().inserted_steps(), 5010u);
}

// Its chunks would fill the memory while the disk is full.
TEST_F(JournalTest, AWriterThatKeepsNoWindowIsReadNoFasterThanTheDiskTakesIt) {
  constexpr uint64_t kChunks = 500;
  constexpr uint64_t kRows = 8'000;  // of 21 bytes and more, of a chunk
  constexpr uint64_t kMost = (64 << 20) / (21 * kRows) + 1;
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit full = before;
  full.rlim_cur = 64 << 10;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  const std::unique_ptr<Stream> opened = OpenStream();
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {});
  for (uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    for (uint64_t row = 0; row < kRows; ++row) {
      builder.Append(0, TestRow(0, chunk * kRows + row).columns(), v1::NOT_ENDED);
    }
    const grpc::Slice message = builder.Build(chunk + 1);
    opened->stream->Send(grpc::ByteBuffer(&message, 1));
  }
  const Journal& journal = *shard_.shard().journal();
  uint64_t added = 0;
  while (added == 0 || added != journal.added()) {
    added = journal.added();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  EXPECT_LE(added, kMost + 2);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  opened->stream->FinishSending();
  EXPECT_TRUE(opened->closed.get_future().get().ok());
  EXPECT_EQ(opened->acknowledged, kChunks);
}

// A limit at what the file has already holds back whatever comes next.
TEST_F(JournalTest, TheLearnerHearsOfStepsWhenTheyAreOnDisk) {
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  const std::unique_ptr<ReplayWriter> writer = StartWriter();
  ASSERT_TRUE(EpisodeWriter(writer.get()).Write(0, 3).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), 3u);
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit full = before;
  full.rlim_cur = std::filesystem::file_size(Journal::Path(directory_.path(), 1));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);

  std::promise<void> told;
  shard_.table().WatchOnce(7, {&told, [&] { told.set_value(); }});
  const std::unique_ptr<Stream> opened = OpenStream();
  ChunkBuilder builder(*RowLayout::Create(TestSignature()), {});
  for (uint64_t row = 0; row <= 4; ++row) {
    builder.Append(0, TestRow(0, row).columns(), row < 4 ? v1::NOT_ENDED : v1::TERMINATED);
  }
  const grpc::Slice chunk = builder.Build(1);
  opened->stream->Send(grpc::ByteBuffer(&chunk, 1));
  // What is sampled need not be on disk: by that this knows that they have come.
  Table::Batch batch;
  const Table::Draw all = {.batch_size = 7, .distinct = true};
  std::promise<void> sampled;
  std::function<void()> sample = [&] {
    if (*shard_.table().Sample(all, batch, {&sampled, sample}) == Table::Outcome::kDone) sampled.set_value();
  };
  sample();
  sampled.get_future().wait();
  EXPECT_EQ(batch.state().inserted_steps(), 3u);
  std::future<void> hears = told.get_future();
  EXPECT_EQ(hears.wait_until(Now()), std::future_status::timeout);
  TestShard killed(0, CopyOfTheDirectory(), false);
  EXPECT_EQ(killed.table().State().inserted_steps(), 3u);

  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  hears.wait();
  opened->stream->FinishSending();
  EXPECT_TRUE(opened->closed.get_future().get().ok());
  EXPECT_EQ(opened->acknowledged, 1u);
  EXPECT_EQ(shard_.table().State().inserted_steps(), 7u);
  TestShard after(0, CopyOfTheDirectory(), false);
  EXPECT_EQ(after.table().State().inserted_steps(), 7u);
}

}  // namespace
}  // namespace headrace
