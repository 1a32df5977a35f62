// Writers against a real shard: exactly once, whatever breaks.
#include "replay/writer.h"

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "replay/checkpoint.h"
#include "replay/service.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

class WriterTest : public testing::Test {
 protected:
  void CreateTable(v1::TableSpec spec = TestSpec()) {
    const absl::StatusOr<Table*> table = shard_.shard().CreateTable(MakePeer("run", "learner"), spec);
    ASSERT_TRUE(table.ok()) << table.status();
  }
  // Appends rows of one lane until the shard holds the writer back. Returns how many.
  uint64_t WriteUntilBlocked(ReplayWriter& writer) {
    for (uint64_t rows = 1; rows < 1000; ++rows) {
      const TestRow row(0, rows - 1);
      writer.Append(0, row.columns(), v1::NOT_ENDED);
      absl::Status status;
      do {
        status = writer.Send(Now());
      } while (absl::IsDeadlineExceeded(status) && shard_.table().State().blocked_writers() == 0);
      if (status.ok()) continue;
      EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
      return rows;
    }
    ADD_FAILURE() << "nothing holds the writer back";
    return 0;
  }
  // What a shard says to a writer with these options.
  absl::Status Refusal(const ReplayWriterOptions& options) {
    const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
    const TestRow row(0, 0);
    writer->Append(0, row.columns(), v1::NOT_ENDED);
    return writer->Drain(Soon());
  }

  TestDirectory directory_;
  TestShard shard_{0, directory_.path()};
};

TEST_F(WriterTest, EveryStepArrives) {
  CreateTable();
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  EpisodeWriter episodes(writer.get());
  uint64_t steps = 0;
  for (uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(episodes.Write(i % 3, 1 + i % 7, i % 5 == 0 ? v1::INTERRUPTED : v1::TRUNCATED).ok());
    steps += 1 + i % 7;
  }
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), steps);
  EXPECT_EQ(shard_.table().State().inserted_items(), steps) << "one transition a step";
  EXPECT_EQ(shard_.table().State().writers(), 1u);
}

// Where another shard answers at the address, as after a change of ports, it would have the steps a second time.
TEST_F(WriterTest, WhatAShardWasSentNoOtherIsSent) {
  CreateTable();
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  EpisodeWriter episodes(writer.get());
  ASSERT_TRUE(episodes.Write(0, 10, v1::TRUNCATED).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  shard_.StopServing();
  ASSERT_TRUE(episodes.Write(0, 5, v1::TRUNCATED).ok());
  {
    Shard other(1, 1 << 20, 1);
    Table& table = **other.CreateTable(MakePeer("run", "learner"), TestSpec());
    const std::unique_ptr<grpc::Service> service = MakeReplayService(&other, "", {});
    const auto server = GrpcServer::Start(shard_.address(), {service.get()});
    ASSERT_TRUE(server.ok()) << server.status();
    const auto end = Soon();
    absl::Status late;
    do {
      late = writer->Drain(std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
    } while (!absl::StrContains(late.message(), "found shard 1") && std::chrono::steady_clock::now() < end);
    EXPECT_THAT(late.message(), HasSubstr(absl::StrCat("expected replay shard 0 at ", shard_.address())));
    EXPECT_EQ(table.State().inserted_steps(), 0u);
  }
  shard_.Serve();
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), 15u);
}

TEST_F(WriterTest, ItemsHaveThePrioritiesThatTheWriterGivesThem) {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::PROPORTIONAL);
  spec.set_priority_exponent(1);
  CreateTable(spec);
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  EpisodeWriter episodes(writer.get());
  for (const float priority : {0.5f, 4.0f, 1.5f}) {
    writer->SetPriority(priority);
    ASSERT_TRUE(episodes.Write(0, 1).ok());
  }
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().mass(), 6);
  EXPECT_EQ(shard_.table().State().max_priority(), 4);

  writer->SetPriority(-1);
  (void)episodes.Write(0, 1);
  const absl::Status refused = writer->Drain(Soon());
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
}

TEST_F(WriterTest, EachTableOverTheRowsGetsItemsOfItsOwn) {
  CreateTable();
  v1::TableSpec spec = SpecOver("fours");
  spec.set_sampler(v1::PROPORTIONAL);
  CreateTable(spec);
  ReplayWriterOptions options = TestWriterOptions(shard_.address());
  options.others = {{"fours", {.rows = 4, .stride = 2}}, {"later", {}}};
  const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
  writer->SetPriority(0.5);
  EpisodeWriter episodes(writer.get());
  for (int i = 0; i < 7; ++i) {
    const TestRow row(0, static_cast<uint64_t>(i));
    writer->Append(0, row.columns(), v1::NOT_ENDED);
  }
  // One of the tables is not there yet: the writer tries again until it is.
  const auto end = Soon();
  absl::Status late;
  do {
    late = writer->Drain(std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
  } while (late.message() == "the shard has not acknowledged" && std::chrono::steady_clock::now() < end);
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_THAT(late.message(), HasSubstr("items for table \"later\", expected those of t, fours"));
  CreateTable(SpecOver("later"));
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().items(), 6u);
  const v1::TableState fours = (*shard_.shard().FindTable("fours"))->State();
  EXPECT_EQ(fours.items(), 2u);
  EXPECT_EQ(fours.mass(), 1);
  EXPECT_EQ((*shard_.shard().FindTable("later"))->State().items(), 6u);
  EXPECT_EQ(shard_.shard().Info().writers_size(), 1);

  options.table = "fours";
  options.writer = 2;
  const absl::Status refused = Refusal(options);
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("table \"fours\" is over the rows of table \"t\": write to that one"));
}

TEST_F(WriterTest, AStepOfManyEnvironmentsIsCutIntoChunks) {
  CreateTable();
  ReplayWriterOptions options = TestWriterOptions(shard_.address());
  options.window_bytes = 1;  // so that no more than 16 rows gather
  const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
  for (uint32_t lane = 0; lane < 100; ++lane) {
    const TestRow row(lane, 0);
    writer->Append(lane, row.columns(), v1::NOT_ENDED);
  }
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), 100u);
  EXPECT_EQ(shard_.table().Writers().at(0).last_sequence(), 7u) << "six of 16 rows, one of 4";
}

// Before the shard has answered nothing can leave: what gathers meanwhile is one chunk, up to 64 KiB.
TEST_F(WriterTest, WhatGathersWhileTheConnectionIsBusyIsOneChunk) {
  const std::unique_ptr<ReplayWriter> writer =
      StartWriter(TestWriterOptions(shard_.address()));  // there is no table yet
  constexpr uint64_t kRows = 10'000;
  for (uint64_t i = 0; i < kRows; ++i) {
    const TestRow row(0, i);
    writer->Append(0, row.columns(), v1::NOT_ENDED);
  }
  CreateTable();
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), kRows);
  const uint64_t gathered = (64 << 10) / RowLayout::Create(TestSignature())->payload_bytes();
  EXPECT_EQ(shard_.table().Writers().at(0).last_sequence(), (kRows + gathered - 1) / gathered);
}

TEST_F(WriterTest, WaitsForATableThatIsNotThereYet) {
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  const TestRow row(0, 0);
  writer->Append(0, row.columns(), v1::NOT_ENDED);
  EXPECT_TRUE(absl::IsDeadlineExceeded(writer->Send(Now())));
  CreateTable();
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), 1u);
}

// Nobody may ever create it, if its name is mistyped: whoever waits must be told what for.
TEST_F(WriterTest, SaysThatTheTableItWaitsForIsUnknown) {
  CreateTable();
  ReplayWriterOptions options = TestWriterOptions(shard_.address());
  options.table = "tt";
  const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
  const TestRow row(0, 0);
  writer->Append(0, row.columns(), v1::NOT_ENDED);
  const auto end = Soon();
  absl::Status status;
  do {
    status = writer->Drain(std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
  } while (status.message() == "the shard has not acknowledged" && std::chrono::steady_clock::now() < end);
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("NOT_FOUND: there is no table \"tt\" on shard 0; its tables: t"));
}

TEST_F(WriterTest, NothingIsLostOrDoubledWhenConnectionsBreak) {
  CreateTable();
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  EpisodeWriter episodes(writer.get());
  uint64_t steps = 0;
  for (int life = 0; life < 6; ++life) {
    for (uint32_t i = 0; i < 40; ++i, steps += 3) ASSERT_TRUE(episodes.Write(i % 2, 3).ok());
    // Chunks are on their way at this moment, and acknowledgements.
    shard_.StopServing();
    for (uint32_t i = 0; i < 10; ++i, steps += 2) ASSERT_TRUE(episodes.Write(i % 2, 2).ok());
    shard_.Serve();
    if (life % 2 == 0) {
      ASSERT_TRUE(writer->Drain(Soon()).ok());
    }
  }
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), steps);
  EXPECT_EQ(shard_.table().State().inserted_items(), steps);
  EXPECT_EQ(shard_.table().State().lost_chunks(), 0u);
  EXPECT_GE(writer->reconnects(), 3u);
}

// Close to what may be on its way in gRPC ends streams, whosever they are.
TEST_F(WriterTest, NothingIsLostOrDoubledWhileOthersFillWhatMayBeOnItsWay) {
  CreateTable();
  const std::unique_ptr<grpc::Service> service = MakeReplayService(&shard_.shard(), "");
  const absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start("127.0.0.1:0", {service.get()}, nullptr, *ProcessSecurity(),
                        {.this_machine = {.number = 1, .buffer_bytes = size_t{32} << 20}});
  ASSERT_TRUE(server.ok()) << server.status();
  std::atomic<int> turned_away = 0;
  constexpr int kOften = 20;
  std::vector<std::thread> others;
  for (int i = 0; i < 4; ++i) {
    others.emplace_back([&turned_away, address = (*server)->address()] {
      const grpc::Slice message(std::string(size_t{60} << 20, 'x'));
      while (turned_away < kOften) {
        std::promise<absl::Status> closed;
        const std::unique_ptr<ClientStream> stream =
            ClientStream::Open(MakeChannel(address), "/headrace.v1.Replay/Insert",
                               {.message = [](const grpc::ByteBuffer&) {},
                                .closed = [&](const absl::Status& status) { closed.set_value(status); }});
        stream->Send(grpc::ByteBuffer(&message, 1));
        if (absl::IsResourceExhausted(closed.get_future().get())) ++turned_away;
      }
    });
  }
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions((*server)->address()));
  EpisodeWriter episodes(writer.get());
  uint64_t steps = 0;
  for (uint32_t i = 0; turned_away < kOften; ++i, steps += 3) EXPECT_TRUE(episodes.Write(i % 2, 3).ok());
  for (std::thread& thread : others) thread.join();
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), steps);
  EXPECT_EQ(shard_.table().State().inserted_items(), steps);
  EXPECT_EQ(shard_.table().State().lost_chunks(), 0u);
}

TEST_F(WriterTest, AfterARestartFromACheckpointOnlyWhatWasNotSavedIsLost) {
  CreateTable();
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  EpisodeWriter episodes(writer.get());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  v1::CheckpointRequest request;
  request.set_name("a");
  ASSERT_TRUE(WriteCheckpoint(shard_.shard(), directory_.path(), request).ok());
  shard_.Restart();
  // The item of rows 4 and 5 begins before the checkpoint and ends after it.
  ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  v1::TableState state = shard_.table().State();
  EXPECT_EQ(state.inserted_steps(), 6u);
  EXPECT_EQ(state.items(), 5u);
  EXPECT_EQ(state.lost_chunks(), 0u);
  // Two more chunks, acknowledged and not saved.
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(episodes.WriteStep(0).ok());
    ASSERT_TRUE(writer->Drain(Soon()).ok());
  }
  shard_.Restart();
  ASSERT_TRUE(episodes.WriteStep(0).ok());
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  state = shard_.table().State();
  EXPECT_EQ(state.inserted_steps(), 6u) << "five from the checkpoint, and the newest";
  EXPECT_EQ(state.items(), 4u) << "the newest row follows a gap";
  EXPECT_EQ(state.lost_chunks(), 3u);
}

TEST_F(WriterTest, AClosedLimitBlocksTheWriterAndLosesNothing) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(10);
  CreateTable(spec);
  ReplayWriterOptions options = TestWriterOptions(shard_.address());
  options.chunk_rows = 4;
  options.window_bytes = 400;
  const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
  const uint64_t rows = WriteUntilBlocked(*writer);
  EXPECT_LT(shard_.table().State().inserted_steps(), rows);
  EXPECT_GE(shard_.table().State().inserted_steps(), 10u);
  EXPECT_EQ(shard_.table().State().blocked_writers(), 1u);
  shard_.table().SetInsertLimit(UINT64_MAX, 0);
  ASSERT_TRUE(writer->Drain(Soon()).ok());
  EXPECT_EQ(shard_.table().State().inserted_steps(), rows);
}

TEST_F(WriterTest, DoesNotRunAheadOfAClosedLimit) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(10);
  CreateTable(spec);
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  const uint64_t rows = WriteUntilBlocked(*writer);
  EXPECT_GE(rows, 11u) << "up to the limit nothing has to wait";
  EXPECT_LE(rows, 12u) << "whatever the window still holds; the tenth step may have left together with the next";
  shard_.table().SetInsertLimit(rows, 0);
  EXPECT_TRUE(writer->Send(Soon()).ok()) << "an acknowledgement opens the window again";
  EXPECT_EQ(shard_.table().State().inserted_steps(), rows);
}

TEST_F(WriterTest, CancelEndsEveryWait) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(0);
  CreateTable(spec);
  const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address()));
  const TestRow row(0, 0);
  writer->Append(0, row.columns(), v1::NOT_ENDED);
  std::thread waiting([&] { EXPECT_TRUE(absl::IsCancelled(writer->Drain(Soon()))); });
  writer->Cancel();
  waiting.join();
  EXPECT_TRUE(absl::IsCancelled(writer->Send(Soon())));
}

TEST_F(WriterTest, AWriterCanBeDestroyedAtAnyTime) {
  CreateTable();
  for (int i = 0; i < 20; ++i) {
    const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address(), 100 + i));
    EpisodeWriter episodes(writer.get());
    for (int step = 0; step < i; ++step) ASSERT_TRUE(episodes.WriteStep(0).ok());
  }
}

TEST_F(WriterTest, IsToldWhyItIsRefused) {
  CreateTable();
  ReplayWriterOptions options = TestWriterOptions(shard_.address());
  options.signature.mutable_columns(0)->set_name("pixels");
  absl::Status status = Refusal(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("expected the columns {observation FLOAT32 [2]"));

  options = TestWriterOptions(shard_.address());
  options.peer = MakePeer("another", "actor");
  status = Refusal(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("actor belongs to run another, this process to run run"));

  options = TestWriterOptions(shard_.address());
  options.peer.set_protocol_version(99);
  status = Refusal(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("protocol version 99"));
}

TEST_F(WriterTest, InLockstepSendReturnsWithTheNextPolicy) {
  v1::TableSpec spec = TestSpec();
  spec.set_initial_insert_limit(1);
  spec.set_lockstep(true);
  CreateTable(spec);
  ReplayWriterOptions options = TestWriterOptions(shard_.address());
  options.lockstep = true;
  const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
  EpisodeWriter episodes(writer.get());
  std::atomic<uint64_t> written = 0;
  std::thread actor([&] {
    for (uint64_t step = 1; step <= 20; ++step) {
      ASSERT_TRUE(episodes.WriteStep(0).ok());
      EXPECT_EQ(writer->policy_version(), step);
      ++written;
    }
  });
  for (uint64_t step = 1; step <= 20; ++step) {
    std::promise<void> inserted;
    int owner = 0;
    shard_.table().WatchOnce(step, {&owner, [&] {
                                      if (shard_.table().State().inserted_steps() >= step) inserted.set_value();
                                    }});
    inserted.get_future().wait();
    EXPECT_EQ(written, step - 1);
    shard_.table().SetInsertLimit(step + 1, step);
  }
  actor.join();
}

}  // namespace
}  // namespace headrace
