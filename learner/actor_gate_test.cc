#include "learner/actor_gate.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "learner/inference_batcher.h"
#include "prometheus/gauge.h"

namespace headrace {
namespace {

using Admission = ActorGate::Admission;
using Clock = InferenceBatcher::Clock;

struct FakeActor : GatedActor {
  void GoOn() override { ++went_on; }
  std::atomic<int> went_on = 0;
};

class ActorGateTest : public testing::Test {
 protected:
  std::shared_ptr<FakeActor> Enter(uint32_t index) {
    auto actor = std::make_shared<FakeActor>();
    gate_.Enter(actor, index);
    return actor;
  }
  // Whether a request of one client closes a batch at once: whether it is the only one that could ask.
  bool NobodyElseCanAsk() {
    batcher_.Filled(batcher_.Reserve({.client = {}, .number = 1, .rows = 1, .arrived = now_}));
    InferenceBatch* batch = batcher_.TryTake(now_);
    const bool at_once = batch != nullptr;
    if (!at_once) batch = batcher_.TryTake(now_ + std::chrono::hours(2));
    batcher_.Release(batch);
    return at_once;
  }

  const Clock::time_point now_{std::chrono::hours(1)};
  InferenceBatcher batcher_{{.row_bytes = 4, .max_rows = 8, .deadline = std::chrono::hours(1)}};
  prometheus::Gauge held_back_;
  ActorGate gate_{&batcher_, &held_back_};
};

TEST_F(ActorGateTest, AtFirstAllAct) {
  for (const uint32_t index : {0u, 1u, 70000u}) EXPECT_EQ(gate_.Admit(Enter(index).get()), Admission::kGranted);
}

TEST_F(ActorGateTest, HoldsBackThoseWithTheHigherIndicesAndTellsThemOnce) {
  const auto second = Enter(1), first = Enter(0), third = Enter(2);
  gate_.SetActors(1);
  EXPECT_EQ(gate_.Admit(first.get()), Admission::kGranted);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kTell);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kWait);
  EXPECT_EQ(gate_.Admit(third.get()), Admission::kTell);
  EXPECT_EQ(held_back_.Value(), 2);
  gate_.SetActors(2);
  EXPECT_EQ(second->went_on, 1);
  EXPECT_EQ(third->went_on, 0);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kGranted);
  EXPECT_EQ(held_back_.Value(), 1);
  gate_.SetActors(1);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kTell) << "it is told each time";
}

TEST_F(ActorGateTest, AnActorThatIsLetInBeforeItAsksAgainIsGrantedWhatItAsks) {
  const auto first = Enter(0), second = Enter(1);
  gate_.SetActors(1);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kTell);
  gate_.SetActors(2);
  EXPECT_EQ(second->went_on, 0);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kGranted);
}

TEST_F(ActorGateTest, WhoLeavesMakesRoomForTheNext) {
  auto first = Enter(0);
  const auto second = Enter(1), third = Enter(5);
  gate_.SetActors(1);
  for (const auto& actor : {second, third}) {
    EXPECT_EQ(gate_.Admit(actor.get()), Admission::kTell);
    EXPECT_EQ(gate_.Admit(actor.get()), Admission::kWait);
  }
  gate_.Leave(first.get());
  EXPECT_EQ(second->went_on, 1);
  EXPECT_EQ(third->went_on, 0);
  // It comes back, and takes its place again.
  first = Enter(0);
  EXPECT_EQ(gate_.Admit(first.get()), Admission::kGranted);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kTell);
  EXPECT_EQ(held_back_.Value(), 2);
  gate_.Leave(second.get());
  gate_.Leave(third.get());
  EXPECT_EQ(held_back_.Value(), 0);
  EXPECT_EQ(third->went_on, 0);
}

// Its old stream is still there.
TEST_F(ActorGateTest, TwoStreamsOfAnIndexShareItsPlace) {
  const auto old = Enter(0), again = Enter(0), second = Enter(1);
  gate_.SetActors(1);
  EXPECT_EQ(gate_.Admit(again.get()), Admission::kGranted);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kTell);
  gate_.Leave(old.get());
  EXPECT_EQ(gate_.Admit(again.get()), Admission::kGranted);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kWait);
}

TEST_F(ActorGateTest, BatchesDoNotWaitForThoseThatAreHeldBack) {
  const auto first = Enter(0), second = Enter(1);
  EXPECT_FALSE(NobodyElseCanAsk());
  gate_.SetActors(1);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kTell);
  EXPECT_TRUE(NobodyElseCanAsk());
  gate_.SetActors(2);
  EXPECT_FALSE(NobodyElseCanAsk());
  gate_.SetActors(1);
  EXPECT_EQ(gate_.Admit(second.get()), Admission::kTell);
  gate_.Leave(second.get());
  EXPECT_TRUE(NobodyElseCanAsk());
  gate_.SetActors(2);
  EXPECT_TRUE(NobodyElseCanAsk()) << "one that has left is counted";
}

// Each request is granted, or goes on once; nobody waits for ever.
TEST_F(ActorGateTest, NobodyIsForgottenWhileTheNumberOfActorsChanges) {
  constexpr uint32_t kActors = 4;
  std::atomic<uint32_t> asking = kActors;
  std::vector<std::thread> threads;
  for (uint32_t index = 0; index < kActors; ++index) {
    threads.emplace_back([&, index] {
      for (int life = 0; life < 5; ++life) {
        const auto actor = Enter(index);
        int waited = 0;
        for (int request = 0; request < 500; ++request) {
          if (gate_.Admit(actor.get()) != Admission::kWait) continue;
          for (++waited; actor->went_on < waited;) std::this_thread::yield();
        }
        EXPECT_EQ(actor->went_on, waited);
        gate_.Leave(actor.get());
      }
      --asking;
    });
  }
  while (asking > 0) {
    for (const size_t actors : {1, 3, 2, 4}) gate_.SetActors(actors);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(held_back_.Value(), 0);
}

}  // namespace
}  // namespace headrace
