#include "learner/inference_batcher.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace headrace {
namespace {

using Clock = InferenceBatcher::Clock;
constexpr std::chrono::microseconds kDeadline{500};
constexpr size_t kRowBytes = 4;

class InferenceBatcherTest : public testing::Test {
 protected:
  InferenceBatcher::Place Ask(uint64_t number, size_t rows) {
    const InferenceBatcher::Place place =
        batcher_.Reserve({.client = {}, .number = number, .rows = rows, .arrived = now_});
    std::memset(place.rows, static_cast<int>(number), rows * kRowBytes);
    return place;
  }
  void AskAndFill(uint64_t number, size_t rows) { batcher_.Filled(Ask(number, rows)); }
  InferenceBatch* TryTake() { return batcher_.TryTake(now_); }
  void Connect(int clients) {
    for (int i = 0; i < clients; ++i) batcher_.Connect();
  }

  Clock::time_point now_{std::chrono::hours(1)};
  InferenceBatcher batcher_{{.row_bytes = kRowBytes, .max_rows = 8, .deadline = kDeadline, .batches = 2}};
};

TEST_F(InferenceBatcherTest, ClosesWhenTheOldestRequestHasWaitedForTheDeadline) {
  Connect(3);
  AskAndFill(1, 2);
  now_ += kDeadline / 2;
  AskAndFill(2, 2);
  EXPECT_EQ(TryTake(), nullptr);
  now_ += kDeadline / 2;  // of the first one; the second one is taken along
  InferenceBatch* const batch = TryTake();
  ASSERT_NE(batch, nullptr);
  EXPECT_EQ(batch->rows, 4u);
  EXPECT_EQ(TryTake(), nullptr);
}

TEST_F(InferenceBatcherTest, ClosesAtItsMaximumSize) {
  Connect(3);
  AskAndFill(1, 4);
  EXPECT_EQ(TryTake(), nullptr);
  AskAndFill(2, 4);
  InferenceBatch* const batch = TryTake();
  ASSERT_NE(batch, nullptr);
  EXPECT_EQ(batch->rows, 8u);
}

TEST_F(InferenceBatcherTest, ClosesForARequestThatHasNoPlaceInIt) {
  Connect(4);
  AskAndFill(1, 5);
  AskAndFill(2, 4);
  InferenceBatch* const first = TryTake();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->rows, 5u);
  EXPECT_EQ(TryTake(), nullptr);  // the next one is open
}

TEST_F(InferenceBatcherTest, ClosesAtOnceWhenNobodyElseCanAsk) {
  Connect(2);
  AskAndFill(1, 1);
  EXPECT_EQ(TryTake(), nullptr);
  AskAndFill(2, 1);
  InferenceBatch* const batch = TryTake();
  ASSERT_NE(batch, nullptr);
  EXPECT_EQ(batch->requests.size(), 2u);
}

TEST_F(InferenceBatcherTest, CountsThoseThatWaitForAnEarlierBatchAsAskers) {
  Connect(2);
  AskAndFill(1, 8);
  ASSERT_NE(TryTake(), nullptr);  // and is being computed
  AskAndFill(2, 1);
  EXPECT_NE(TryTake(), nullptr);
}

TEST_F(InferenceBatcherTest, WaitsAgainForAClientThatHasBeenAnswered) {
  Connect(2);
  AskAndFill(1, 8);
  batcher_.Release(TryTake());
  AskAndFill(2, 1);
  EXPECT_EQ(TryTake(), nullptr);
}

TEST_F(InferenceBatcherTest, DoesNotWaitForAClientThatIsGone) {
  Connect(2);
  AskAndFill(1, 1);
  EXPECT_EQ(TryTake(), nullptr);
  batcher_.Disconnect();
  EXPECT_NE(TryTake(), nullptr);
}

TEST_F(InferenceBatcherTest, HoldsABatchBackUntilAllOfItsRowsAreFilled) {
  Connect(2);
  const InferenceBatcher::Place first = Ask(1, 4);
  AskAndFill(2, 4);
  now_ += kDeadline;
  EXPECT_EQ(TryTake(), nullptr);
  batcher_.Filled(first);
  EXPECT_NE(TryTake(), nullptr);
}

TEST_F(InferenceBatcherTest, GivesEachRequestRowsOfItsOwn) {
  Connect(3);
  AskAndFill(1, 3);
  AskAndFill(2, 1);
  AskAndFill(3, 4);
  InferenceBatch* const batch = TryTake();
  ASSERT_NE(batch, nullptr);
  size_t next_row = 0;
  for (const InferenceRequest& request : batch->requests) {
    EXPECT_EQ(request.first_row, next_row);
    next_row += request.rows;
    const std::byte* const begin = batch->memory.get() + request.first_row * kRowBytes;
    EXPECT_TRUE(std::all_of(begin, begin + request.rows * kRowBytes,
                            [&](std::byte byte) { return byte == static_cast<std::byte>(request.number); }));
  }
  EXPECT_EQ(next_row, 8u);
}

TEST_F(InferenceBatcherTest, KeepsMoreBatchesThanItBeganWith) {
  Connect(5);
  for (uint64_t number = 1; number <= 5; ++number) AskAndFill(number, 8);
  for (uint64_t number = 1; number <= 5; ++number) {
    InferenceBatch* const batch = TryTake();
    ASSERT_NE(batch, nullptr);
    EXPECT_EQ(batch->requests.front().number, number);
    EXPECT_EQ(batch->memory[0], static_cast<std::byte>(number));
  }
}

TEST_F(InferenceBatcherTest, ReusesABatchEmpty) {
  Connect(1);
  AskAndFill(1, 8);
  const std::vector<InferenceRequest> released = batcher_.Release(TryTake());
  ASSERT_EQ(released.size(), 1u);
  EXPECT_EQ(released.front().number, 1u);
  AskAndFill(2, 3);
  InferenceBatch* const batch = TryTake();
  ASSERT_NE(batch, nullptr);
  EXPECT_EQ(batch->rows, 3u);
  EXPECT_EQ(batch->requests.size(), 1u);
}

TEST_F(InferenceBatcherTest, CloseEndsEveryWait) {
  std::vector<std::thread> threads;
  std::atomic<int> ended = 0;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { ended += batcher_.Take() == nullptr; });
  }
  batcher_.Close();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended, 3);
}

// A batch that is there is left to those that may take it, also by one that already waits.
TEST_F(InferenceBatcherTest, OnlySoManyThreadsTakeBatches) {
  Connect(1);
  std::atomic<int> taken_by_second = 0;
  std::atomic<int> taken_by_first = 0;
  std::thread second([&] {
    while (InferenceBatch* const batch = batcher_.Take(1)) {
      ++taken_by_second;
      batcher_.Release(batch);
      taken_by_second.notify_all();
    }
  });
  AskAndFill(1, 8);
  taken_by_second.wait(0);
  batcher_.SetThreads(1);
  std::thread first([&] {
    while (InferenceBatch* const batch = batcher_.Take(0)) {
      batcher_.Release(batch);
      ++taken_by_first;
      taken_by_first.notify_all();
    }
  });
  for (int i = 0; i < 100; ++i) {
    AskAndFill(2, 8);
    taken_by_first.wait(i);
  }
  EXPECT_EQ(taken_by_second, 1);
  batcher_.SetThreads(2);
  batcher_.Close();
  first.join();
  second.join();
}

TEST_F(InferenceBatcherTest, CloseEndsTheWaitOfThreadsThatTakeNoBatches) {
  batcher_.SetThreads(1);
  std::thread second([&] { EXPECT_EQ(batcher_.Take(1), nullptr); });
  batcher_.Close();
  second.join();
}

// Each client's rows hold its number and its count; a thread that took a batch finds nothing else in them.
TEST(InferenceBatcherThreadsTest, RowsAreNeverMixedUpBetweenClients) {
  constexpr uint64_t kClients = 4;
  constexpr uint64_t kRequests = 2000;
  InferenceBatcher batcher({.row_bytes = 8, .max_rows = 5, .deadline = std::chrono::microseconds(20)});
  std::array<std::atomic<uint64_t>, kClients> answered{};
  std::atomic<int> mixed = 0;
  std::vector<std::thread> predictors;
  for (int i = 0; i < 2; ++i) {
    predictors.emplace_back([&] {
      while (InferenceBatch* const batch = batcher.Take()) {
        for (const InferenceRequest& request : batch->requests) {
          for (size_t row = request.first_row; row < request.first_row + request.rows; ++row) {
            uint64_t value;
            std::memcpy(&value, batch->memory.get() + row * 8, 8);
            mixed += value != request.number;
          }
        }
        for (const InferenceRequest& request : batcher.Release(batch)) {
          answered[request.number % kClients] = request.number;
          answered[request.number % kClients].notify_all();
        }
      }
    });
  }
  std::vector<std::thread> clients;
  for (uint64_t client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      batcher.Connect();
      for (uint64_t i = 1; i <= kRequests; ++i) {
        const uint64_t number = i * kClients + client;
        const size_t rows = 1 + (i + client) % 3;
        const InferenceBatcher::Place place =
            batcher.Reserve({.client = {}, .number = number, .rows = rows, .arrived = Clock::now()});
        for (size_t row = 0; row < rows; ++row) std::memcpy(place.rows + row * 8, &number, 8);
        batcher.Filled(place);
        for (uint64_t last = answered[client]; last != number; last = answered[client]) answered[client].wait(last);
      }
      batcher.Disconnect();
    });
  }
  for (std::thread& client : clients) client.join();
  batcher.Close();
  for (std::thread& predictor : predictors) predictor.join();
  EXPECT_EQ(mixed, 0);
}

}  // namespace
}  // namespace headrace
