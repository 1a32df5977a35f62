// Writers against real shards that go away and come back.
#include "replay/moving_writer.h"

#include <chrono>
#include <future>
#include <thread>

#include "absl/status/status.h"
#include "common/protocol.h"
#include "gtest/gtest.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

class MovingWriterTest : public testing::Test {
 protected:
  static void CreateTable(TestShard& shard, uint64_t insert_limit = UINT64_MAX) {
    v1::TableSpec spec = TestSpec();
    spec.set_initial_insert_limit(insert_limit);
    ASSERT_TRUE(shard.shard().CreateTable(MakePeer("run", "learner"), spec).ok());
  }

  // To these shards, first to the first, with no patience.
  void Start(std::vector<std::string> addresses, size_t second = 0) {
    MovingWriterOptions options;
    options.writer = TestWriterOptions("");
    options.addresses = std::move(addresses);
    options.second = second;
    options.patience = 0ms;
    absl::StatusOr<std::unique_ptr<MovingWriter>> writer = MovingWriter::Start(std::move(options));
    ASSERT_TRUE(writer.ok()) << writer.status();
    writer_ = *std::move(writer);
    rows_ = std::make_unique<EpisodeWriter>(writer_.get());
  }

  void Write(int steps) {
    for (int i = 0; i < steps; ++i) {
      rows_->Append(0, v1::NOT_ENDED);
      const absl::Status sent = writer_->Send(Now());
      ASSERT_TRUE(sent.ok() || absl::IsDeadlineExceeded(sent)) << sent;
    }
    steps_ += static_cast<uint64_t>(steps);
  }

  // Waits until rows should go elsewhere, and lets them, as an actor does.
  void ExpectMove() {
    for (const auto end = Soon(); !writer_->ShouldMove(); std::this_thread::sleep_for(10ms)) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "it stays where it is";
    }
    rows_->Append(0, v1::CUT);
    writer_->Move();
  }

  void ExpectNoMove() {
    for (int i = 0; i < 5; ++i, std::this_thread::sleep_for(120ms)) EXPECT_FALSE(writer_->ShouldMove());
  }

  TestShard home_{0};
  TestShard other_{1};
  std::unique_ptr<MovingWriter> writer_;
  std::unique_ptr<EpisodeWriter> rows_;
  uint64_t steps_ = 0;  // written
};

TEST_F(MovingWriterTest, EveryStepArrivesOnceAlthoughItsShardWasAway) {
  CreateTable(home_);
  CreateTable(other_);
  Start({home_.address(), other_.address()});
  for (int life = 0; life < 3; ++life) {
    SCOPED_TRACE(life);
    const uint64_t elsewhere = other_.table().State().inserted_steps();
    Write(40);
    // Chunks are on their way at this moment, and acknowledgements.
    home_.StopServing();
    Write(20);
    ExpectMove();
    Write(30);
    EXPECT_TRUE(absl::IsDeadlineExceeded(writer_->Drain(std::chrono::steady_clock::now() + 200ms)))
        << "what the home shard was sent first waits for it";
    EXPECT_EQ(other_.table().State().inserted_steps(), elsewhere + 30);
    ExpectNoMove();

    home_.Serve();
    ExpectMove();
    Write(10);
    ASSERT_TRUE(writer_->Drain(Soon()).ok());
    EXPECT_EQ(writer_->unacknowledged_bytes(), 0u);
    EXPECT_EQ(home_.table().State().inserted_steps() + other_.table().State().inserted_steps(), steps_);
    EXPECT_EQ(home_.table().State().inserted_items() + other_.table().State().inserted_items(), steps_ - 1)
        << "one transition a step, none lost where an episode was cut; the newest step's next row is still to come";
    ExpectNoMove();
    EXPECT_EQ(other_.table().State().writers(), 0u) << "nobody stays connected who has nothing to say";
  }
  EXPECT_EQ(home_.table().State().lost_chunks(), 0u);
  EXPECT_GE(writer_->reconnects(), 2u);
}

TEST_F(MovingWriterTest, GoesOnUntilItFindsAShardThatAnswers) {
  TestShard third{2};
  CreateTable(home_);
  CreateTable(third);
  other_.StopServing();
  Start({home_.address(), other_.address(), third.address()});
  Write(5);
  ASSERT_TRUE(writer_->Drain(Soon()).ok());
  home_.StopServing();
  ExpectMove();
  Write(5);
  // Now the one that took over is away, too, and one that was not there before is.
  third.StopServing();
  CreateTable(other_);
  other_.Serve();
  ExpectMove();
  Write(5);
  home_.Serve();
  third.Serve();
  ASSERT_TRUE(writer_->Drain(Soon()).ok());
  for (TestShard* shard : {&home_, &other_, &third}) EXPECT_EQ(shard->table().State().inserted_steps(), 5u);
}

TEST_F(MovingWriterTest, ActorsOfOneShardGoToDifferentOthers) {
  TestShard third{2};
  CreateTable(home_);
  CreateTable(other_);
  CreateTable(third);
  home_.StopServing();
  Start({home_.address(), other_.address(), third.address()}, /*second=*/1);
  ExpectMove();
  Write(5);
  home_.Serve();
  ASSERT_TRUE(writer_->Drain(Soon()).ok());
  EXPECT_EQ(third.table().State().inserted_steps(), 5u);
  EXPECT_EQ(other_.table().State().inserted_steps(), 0u);
}

// The home shard was away when those that were there were waited for, and there when it was the turn of the others: it
// was taken for one of the first, and what it had not acknowledged given up.
TEST_F(MovingWriterTest, DrainWaitsForAShardThatComesBackMeanwhile) {
  CreateTable(home_, /*insert_limit=*/0);
  CreateTable(other_, /*insert_limit=*/0);
  Start({home_.address(), other_.address()});
  Write(1);
  home_.StopServing();
  ExpectMove();
  Write(1);
  std::promise<void> started;
  absl::Status drained;
  std::thread draining([&] {
    const auto deadline = std::chrono::steady_clock::now() + 2s;
    started.set_value();
    drained = writer_->Drain(deadline);
  });
  started.get_future().wait();
  home_.Serve();
  const auto wait_for_writer = [](TestShard& shard) {
    while (shard.table().State().blocked_writers() == 0) std::this_thread::sleep_for(10ms);
  };
  wait_for_writer(home_);
  wait_for_writer(other_);
  other_.table().SetInsertLimit(UINT64_MAX, 0);
  draining.join();
  EXPECT_TRUE(absl::IsDeadlineExceeded(drained)) << drained;
  home_.table().SetInsertLimit(UINT64_MAX, 0);
  ASSERT_TRUE(writer_->Drain(Soon()).ok());
  EXPECT_EQ(home_.table().State().inserted_steps(), 1u);
}

TEST_F(MovingWriterTest, StaysWhereThereIsNoOther) {
  CreateTable(home_);
  Start({home_.address()});
  Write(5);
  home_.StopServing();
  Write(5);
  ExpectNoMove();
  home_.Serve();
  ASSERT_TRUE(writer_->Drain(Soon()).ok());
  EXPECT_EQ(home_.table().State().inserted_steps(), steps_);
}

}  // namespace
}  // namespace headrace
