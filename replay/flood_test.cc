// Who does as much as it can, in pieces as large as they may be, stands in nobody's way: with a deadline for each step
// of the others, who want little.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "common/protocol.h"
#include "gtest/gtest.h"
#include "replay/sample_plan.h"
#include "replay/service_testing.h"
#include "replay/wire.h"

namespace headrace {
namespace {

class FloodTest : public testing::Test {
 protected:
  void Start(v1::Selector remover) {
    spec_.set_max_bytes(32 << 20);
    spec_.set_remover(remover);
    EXPECT_TRUE(shard_.shard().CreateTable(MakePeer("run", "learner"), spec_).ok());
    TestWriter writer(&shard_.table(), 99);
    writer.Append(0, 1000, v1::TRUNCATED);
    EXPECT_TRUE(writer.Insert().ok());
  }
  ~FloodTest() override {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  std::unique_ptr<ReplaySampler> StartSamplerOf(TestBatches& batches) {
    batches.options.table = spec_;
    batches.options.ratio.held = false;
    return StartSampler(batches);
  }
  void FloodWithRows(uint64_t id) {
    threads_.emplace_back([this, id] {
      ReplayWriterOptions options = TestWriterOptions(shard_.address(), id);
      options.chunk_rows = kMaxRowsPerChunk;
      options.window_bytes = 16 << 20;
      const std::unique_ptr<ReplayWriter> writer = StartWriter(options);
      EpisodeWriter episodes(writer.get());
      while (!done_) {
        for (uint32_t row = 0; row < kMaxRowsPerChunk; ++row) episodes.Append(0, v1::NOT_ENDED);
        while (!done_ && !writer->Send(Now()).ok()) std::this_thread::yield();
        ++floods_;
      }
      writer->Cancel();
    });
  }
  void FloodWithRequests() {
    threads_.emplace_back([this] {
      TestBatches batches({shard_.address()}, kMaxBatchSize, 4);
      const std::unique_ptr<ReplaySampler> sampler = StartSamplerOf(batches);
      for (uint64_t update = 1; !done_; ++update) {
        const auto filled = sampler->Next(Soon());
        ASSERT_TRUE(filled.ok()) << filled.status();
        sampler->Done(filled->slot, update);
        ++floods_;
      }
    });
  }
  // Small batches and small episodes in turn, each of which waits for its answer.
  void LetOthersDoLittle() {
    const auto end = Soon();
    while (floods_ < 4) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "there is no flood";
      std::this_thread::yield();
    }
    TestBatches batches({shard_.address()}, 32, 1);
    const std::unique_ptr<ReplaySampler> sampler = StartSamplerOf(batches);
    const std::unique_ptr<ReplayWriter> writer = StartWriter(TestWriterOptions(shard_.address(), 3));
    EpisodeWriter episodes(writer.get());
    for (uint64_t update = 1; update <= 30; ++update) {
      const auto filled = sampler->Next(Soon());
      ASSERT_TRUE(filled.ok()) << filled.status();
      sampler->Done(filled->slot, update);
      ASSERT_TRUE(episodes.Write(1, 3).ok());
      ASSERT_TRUE(writer->Drain(Soon()).ok());
    }
  }

  v1::TableSpec spec_ = TestSpec();
  TestShard shard_;
  std::atomic<bool> done_ = false;
  std::atomic<uint64_t> floods_ = 0;
  std::vector<std::thread> threads_;
};

TEST_F(FloodTest, OfRowsLeavesSamplersAndOtherWritersTheirTurn) {
  Start(v1::FIRST_IN_FIRST_OUT);
  FloodWithRows(1);
  FloodWithRows(2);
  LetOthersDoLittle();
}

TEST_F(FloodTest, OfRowsThatRemoveAtRandomDoesSo) {
  Start(v1::UNIFORM);
  FloodWithRows(1);
  LetOthersDoLittle();
}

TEST_F(FloodTest, OfRequestsLeavesWritersAndOtherSamplersTheirTurn) {
  Start(v1::FIRST_IN_FIRST_OUT);
  for (int i = 0; i < 3; ++i) FloodWithRequests();
  LetOthersDoLittle();
}

}  // namespace
}  // namespace headrace
