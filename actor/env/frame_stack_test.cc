#include "actor/env/frame_stack.h"

#include <stdexcept>
#include <utility>

#include "actor/env/vector_environment.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;

// Observes 10 times the number of the episode plus the steps in it; its third episode throws in the second step.
class Counter : public Environment {
 public:
  const EnvironmentFacts& facts() const override { return facts_; }
  void Reset(RandomStream&, std::span<std::byte> observation) override {
    ++episode_;
    steps_ = 0;
    Observe(observation);
  }
  StepResult Step(const Action&, std::span<std::byte> observation) override {
    ++steps_;
    Observe(observation);
    if (episode_ == 3 && steps_ == 2) throw std::runtime_error("stuck");
    return {.terminated = steps_ == 4};
  }
  std::vector<double> State() const override { return {1, 2}; }
  absl::Status SetState(std::span<const double>) override { return absl::OkStatus(); }

 private:
  void Observe(std::span<std::byte> observation) const {
    for (std::byte& byte : observation) byte = static_cast<std::byte>(10 * episode_ + steps_);
  }

  const EnvironmentFacts facts_ = {
      .name = "Counter", .observation = {.data_type = v1::UINT8, .shape = {2, 1}}, .action = {.discrete = 2}};
  int episode_ = 0;
  int steps_ = 0;
};

std::vector<int> Numbers(std::span<const std::byte> bytes) {
  std::vector<int> numbers;
  for (const std::byte byte : bytes) numbers.push_back(std::to_integer<int>(byte));
  return numbers;
}

class FrameStackTest : public testing::Test {
 protected:
  void Make(int frames) {
    std::vector<std::unique_ptr<Environment>> environments;
    environments.push_back(std::make_unique<Counter>());
    lanes_ = *VectorEnvironment::Create(std::move(environments), {.frame_stack = frames});
  }
  std::vector<int> Step() {
    EXPECT_TRUE(lanes_->Step(std::vector<int32_t>{0}).ok());
    return Numbers(lanes_->observations());
  }

  std::unique_ptr<VectorEnvironment> lanes_;
};

TEST_F(FrameStackTest, HoldsTheLastFramesOldestFirstAfterZeros) {
  Make(3);
  EXPECT_THAT(lanes_->facts().observation.shape, ElementsAre(6, 1));
  EXPECT_THAT(Numbers(lanes_->observations()), ElementsAre(0, 0, 0, 0, 10, 10));
  EXPECT_THAT(Step(), ElementsAre(0, 0, 10, 10, 11, 11));
  EXPECT_THAT(Step(), ElementsAre(10, 10, 11, 11, 12, 12));
  EXPECT_THAT(Step(), ElementsAre(11, 11, 12, 12, 13, 13));
  EXPECT_THAT(Step(), ElementsAre(0, 0, 0, 0, 20, 20)) << "another episode";
  EXPECT_THAT(Numbers(lanes_->final_observation(0)), ElementsAre(12, 12, 13, 13, 14, 14));
}

TEST_F(FrameStackTest, AnEpisodeThatIsBrokenOffLeavesNothingInTheNext) {
  Make(2);
  for (int step = 0; step < 8; ++step) Step();
  EXPECT_THAT(Step(), ElementsAre(30, 30, 31, 31));
  EXPECT_THAT(Step(), ElementsAre(0, 0, 40, 40));
  EXPECT_TRUE(lanes_->steps()[0].interrupted);
  EXPECT_THAT(Numbers(lanes_->final_observation(0)), ElementsAre(30, 30, 31, 31));
}

TEST_F(FrameStackTest, OneFrameIsTheEnvironmentItself) {
  Make(1);
  EXPECT_THAT(lanes_->facts().observation.shape, ElementsAre(2, 1));
  EXPECT_THAT(Step(), ElementsAre(11, 11));
}

TEST(StackedFramesTest, ANumberBecomesARow) {
  EXPECT_THAT(StackedFrames({.shape = {}}, 4).shape, ElementsAre(4));
  EXPECT_THAT(StackedFrames({.shape = {}}, 1).shape, ElementsAre());
  EXPECT_THAT(StackedFrames({.shape = {3, 84, 84}}, 4).shape, ElementsAre(12, 84, 84));
}

}  // namespace
}  // namespace headrace
