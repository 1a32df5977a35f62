// A sampler's stream, message by message.
#include "replay/sample_stream.h"

#include <deque>
#include <optional>
#include <set>
#include <thread>

#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/mutex.h"
#include "common/protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"
#include "replay/sample_plan.h"
#include "replay/service_testing.h"
#include "replay/testing.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kInvalidArgument = static_cast<uint32_t>(absl::StatusCode::kInvalidArgument);
constexpr uint32_t kDeadlineExceeded = static_cast<uint32_t>(absl::StatusCode::kDeadlineExceeded);

v1::TableSpec Queue() {
  v1::TableSpec spec = TestSpec();
  spec.set_sampler(v1::FIRST_IN_FIRST_OUT);
  spec.set_max_times_sampled(1);
  return spec;
}

class SampleStreamTest : public testing::Test {
 protected:
  // Opens a stream on a table with one slice of the column, repeated.
  void Open(const v1::TableSpec& spec, const std::string& column = "reward", uint32_t rows = 1, int slices = 1,
            bool without_replacement = false, uint32_t stack = 0) {
    ASSERT_TRUE(shard_.shard().CreateTable(MakePeer("run", "learner"), spec).ok());
    stream_ = ClientStream::Open(channel_, "/headrace.v1.Replay/Sample",
                                 {.message =
                                      [this](const grpc::ByteBuffer& message) {
                                        MutexLock lock(&mutex_);
                                        EXPECT_TRUE(FromByteBuffer(message, messages_.emplace_back()).ok());
                                        changed_.NotifyAll();
                                      },
                                  .closed =
                                      [this](const absl::Status& status) {
                                        MutexLock lock(&mutex_);
                                        closed_ = status;
                                        changed_.NotifyAll();
                                      }});
    v1::SampleRequest request;
    *request.mutable_open()->mutable_peer() = MakePeer("run", "learner");
    request.mutable_open()->set_table(spec.name());
    request.mutable_open()->set_without_replacement(without_replacement);
    for (int i = 0; i < slices; ++i) {
      v1::ColumnSlice& slice = *request.mutable_open()->add_slices();
      slice.set_column(column);
      slice.set_rows(rows);
      slice.set_stack(stack);
    }
    stream_->Send(ToByteBuffer(request));
  }
  void Ask(uint64_t number, uint32_t batch_size, uint32_t timeout_ms) {
    v1::SampleRequest request;
    request.set_request(number);
    request.set_batch_size(batch_size);
    request.set_timeout_ms(timeout_ms);
    stream_->Send(ToByteBuffer(request));
  }
  // The next message.
  v1::SampleResponse Message() {
    MutexLock lock(&mutex_);
    while (messages_.empty()) {
      if (!changed_.WaitUntil(&mutex_, Soon())) {
        ADD_FAILURE() << "no answer";
        return {};
      }
    }
    v1::SampleResponse message = messages_.front();
    messages_.pop_front();
    return message;
  }
  absl::Status Closed() {
    MutexLock lock(&mutex_);
    while (!closed_.has_value()) {
      if (!changed_.WaitUntil(&mutex_, Soon())) return absl::OkStatus();
    }
    return *closed_;
  }

  TestShard shard_;
  const std::shared_ptr<grpc::Channel> channel_ = MakeChannel(shard_.address());
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<v1::SampleResponse> messages_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> closed_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> stream_;
};

TEST_F(SampleStreamTest, ARequestForMoreThanThereIsEndsWithItsTimeAndTheStreamGoesOn) {
  Open(Queue());
  TestWriter writer(&shard_.table(), 1);
  writer.Append(0, 4);  // 3 items
  ASSERT_TRUE(writer.Insert().ok());
  Ask(1, 4, 0);
  Ask(2, 3, 0);
  const v1::SampleResponse late = Message();
  EXPECT_EQ(late.request(), 1u);
  EXPECT_TRUE(late.last());
  EXPECT_EQ(late.status_code(), kDeadlineExceeded);
  EXPECT_THAT(late.status_message(), HasSubstr("has 3 items, too few for a batch of 4"));
  EXPECT_EQ(late.state().items(), 3u);
  const v1::SampleResponse answer = Message();
  EXPECT_EQ(answer.request(), 2u);
  EXPECT_EQ(answer.status_code(), 0u);
  EXPECT_EQ(answer.keys_size(), 3);
}

// Whether items or the timer come first, a request is answered once, and no item is lost between the two.
TEST_F(SampleStreamTest, ItemsAndTheTimerRace) {
  constexpr uint32_t kBatches = 300;
  Open(Queue());
  Ask(1, 4, 1);
  EXPECT_EQ(Message().status_code(), kDeadlineExceeded) << "nobody has written anything";
  std::thread actor([&] {
    TestWriter writer(&shard_.table(), 1);
    writer.Append(0, 1);
    for (uint32_t i = 0; i < 2 * kBatches; ++i) {
      writer.Append(0, 2);
      ASSERT_TRUE(writer.Insert().ok());
      std::this_thread::yield();
    }
  });
  std::set<uint64_t> keys;
  for (uint64_t number = 2; keys.size() < size_t{4} * kBatches && !HasFailure(); ++number) {
    Ask(number, 4, number % 2);
    const v1::SampleResponse answer = Message();
    ASSERT_EQ(answer.request(), number);
    if (answer.status_code() == kDeadlineExceeded) continue;
    ASSERT_EQ(answer.status_code(), 0u) << answer.status_message();
    ASSERT_EQ(answer.keys_size(), 4);
    keys.insert(answer.keys().begin(), answer.keys().end());
  }
  actor.join();
  EXPECT_EQ(shard_.table().State().items(), 0u);
  EXPECT_EQ(shard_.table().State().sampled_items(), 4u * kBatches);
}

TEST_F(SampleStreamTest, ItemsWakeARequestLongBeforeItsTime) {
  Open(Queue());
  Ask(1, 1, 1);
  Ask(2, 1, 3'600'000);
  EXPECT_EQ(Message().status_code(), kDeadlineExceeded);  // the second one is read now
  TestWriter writer(&shard_.table(), 1);
  writer.Append(0, 2);
  ASSERT_TRUE(writer.Insert().ok());
  const v1::SampleResponse answer = Message();
  EXPECT_EQ(answer.request(), 2u);
  EXPECT_EQ(answer.keys_size(), 1);
}

TEST_F(SampleStreamTest, BatchesHaveALimit) {
  Open(TestSpec());
  Ask(1, kMaxBatchSize + 1, 1000);
  const v1::SampleResponse refusal = Message();
  EXPECT_EQ(refusal.status_code(), kInvalidArgument);
  EXPECT_THAT(refusal.status_message(), HasSubstr("expected batches of up to 65536 items of 8 bytes, got 65537"));
}

TEST_F(SampleStreamTest, WithoutReplacementABatchWaitsForItsItemsAndIsRefusedWhereTheyCanNeverBe) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_items(8);
  Open(spec, "reward", 1, 1, true);
  TestWriter writer(&shard_.table(), 1);
  writer.Append(0, 5);  // 4 items
  ASSERT_TRUE(writer.Insert().ok());
  Ask(1, 9, 3'600'000);
  const v1::SampleResponse refusal = Message();
  EXPECT_EQ(refusal.status_code(), kInvalidArgument);
  EXPECT_THAT(refusal.status_message(),
              HasSubstr("expected batches without replacement of up to the 8 items that table \"t\" can hold, got 9"));
  Ask(2, 5, 0);
  const v1::SampleResponse late = Message();
  EXPECT_EQ(late.status_code(), kDeadlineExceeded);
  EXPECT_THAT(late.status_message(), HasSubstr("has 4 items, too few for a batch of 5 without replacement"));
  Ask(3, 5, 3'600'000);
  writer.Append(0, 1);
  ASSERT_TRUE(writer.Insert().ok());
  const v1::SampleResponse answer = Message();
  EXPECT_EQ(answer.status_code(), 0u) << answer.status_message();
  EXPECT_EQ((std::set<uint64_t>(answer.keys().begin(), answer.keys().end())).size(), 5u);
}

TEST_F(SampleStreamTest, AnAnswerOfManyMessagesEndsWithItsKeys) {
  v1::TableSpec spec = TestSpec();
  Open(spec, "observation", 2, 16);  // 256 bytes an item: 4096 to a message
  TestWriter writer(&shard_.table(), 1);
  writer.Append(0, 3);
  ASSERT_TRUE(writer.Insert().ok());
  for (uint64_t number = 1; number <= 5; ++number) Ask(number, 13'000, 0);
  for (uint64_t number = 1; number <= 5; ++number) {
    for (int i = 1; i <= 4; ++i) {
      const v1::SampleResponse message = Message();
      ASSERT_EQ(message.request(), number);
      ASSERT_EQ(message.last(), i == 4);
      ASSERT_EQ(message.keys_size(), i == 4 ? 13'000 : 0);
    }
  }
}

TEST_F(SampleStreamTest, StacksAreAsHighAsItemsHaveContext) {
  v1::TableSpec spec = TestSpec();
  spec.set_max_item_rows(5);
  spec.set_context_rows(3);
  Open(spec, "observation", 2, 1, false, 5);
  const absl::Status refused = Closed();
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("expected stacks of up to 4 rows, because table \"t\" keeps 3 before each"));
}

TEST_F(SampleStreamTest, ItemsHaveALimit) {
  v1::TableSpec spec = TestSpec();
  spec.mutable_signature()->mutable_columns(0)->set_shape(0, 1 << 18);  // 1 MiB
  spec.set_max_bytes(32 << 20);
  Open(spec, "observation", 4, 9);
  const absl::Status refusal = Closed();
  EXPECT_TRUE(absl::IsInvalidArgument(refusal)) << refusal;
  EXPECT_THAT(refusal.message(), HasSubstr("expected slices of up to 33554432 bytes an item, got 37748736"));
}

// A sampler that asks and never reads, and then does.
TEST_F(SampleStreamTest, WhatAHostHasNotReadHoldsItsNextBatchBack) {
  shard_.StopServing();
  shard_.Serve({.unsent_bytes = 1 << 20, .reading_when_full = std::chrono::minutes(1)});
  Open(TestSpec(), "observation", 2);  // 16 bytes an item
  TestWriter writer(&shard_.table(), 1);
  writer.Append(0, 3);
  ASSERT_TRUE(writer.Insert().ok());

  const auto stub = v1::Replay::NewStub(MakeChannel(shard_.address()));
  grpc::ClientContext context;
  const auto deaf = stub->Sample(&context);
  v1::SampleRequest request;
  *request.mutable_open()->mutable_peer() = MakePeer("run", "learner");
  request.mutable_open()->set_table("t");
  for (int i = 0; i < 16; ++i) {
    v1::ColumnSlice& slice = *request.mutable_open()->add_slices();
    slice.set_column("observation");
    slice.set_rows(2);
  }
  request.set_request(1);
  request.set_batch_size(1 << 16);  // 16 MiB, more than any window
  ASSERT_TRUE(deaf->Write(request));
  v1::SampleResponse answer;
  ASSERT_TRUE(deaf->Read(&answer));  // the rest is on its way
  ASSERT_FALSE(answer.last()) << answer.status_message();
  Ask(1, 1, 0);
  const v1::SampleResponse late = Message();
  EXPECT_EQ(late.status_code(), static_cast<uint32_t>(absl::StatusCode::kUnavailable));
  EXPECT_THAT(late.status_message(), HasSubstr("has not been read"));
  Ask(2, 1, 3'600'000);
  do {
    ASSERT_TRUE(deaf->Read(&answer));
  } while (!answer.last());
  const v1::SampleResponse next = Message();
  EXPECT_EQ(next.request(), 2u);
  EXPECT_EQ(next.status_code(), 0u) << next.status_message();
}

}  // namespace
}  // namespace headrace
