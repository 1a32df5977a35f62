#include <limits>
#include <stdexcept>
#include <utility>

#include "actor/env/registry.h"
#include "actor/env/vector_environment.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class MujocoTest : public testing::Test {
 protected:
  std::unique_ptr<Environment> Started(const char* name) {
    std::unique_ptr<Environment> environment = *MakeEnvironment(name);
    observation_.resize(environment->facts().observation.bytes());
    environment->Reset(random_, observation_);
    return environment;
  }

  // The first numbers of the state are the time and the positions; a huge position cannot be simulated.
  static void Derail(Environment& environment) {
    std::vector<double> state = environment.State();
    state[1] = 1e30;
    ASSERT_TRUE(environment.SetState(state).ok());
  }

  RandomStream random_{1, StreamRole::kTest, 0, StreamPurpose::kEnvironment};
  std::vector<std::byte> observation_;
};

TEST_F(MujocoTest, ADivergedSimulationThrowsAndResetsAgain) {
  const auto environment = Started("HalfCheetah-v5");
  const std::vector<double> action(6, 0.5);
  Derail(*environment);
  EXPECT_THAT(
      [&] { environment->Step({.continuous = action}, observation_); },
      ThrowsMessage<std::runtime_error>(HasSubstr("the simulation of HalfCheetah-v5 diverged: Nan, Inf or huge")));

  environment->Reset(random_, observation_);
  EXPECT_FALSE(environment->Step({.continuous = action}, observation_).terminated);
}

TEST_F(MujocoTest, ADivergedSimulationInterruptsItsLaneAlone) {
  std::vector<std::unique_ptr<Environment>> environments;
  for (int lane = 0; lane < 2; ++lane) environments.push_back(*MakeEnvironment("HalfCheetah-v5"));
  Environment& first = *environments[0];
  const auto lanes = *VectorEnvironment::Create(std::move(environments), {.lanes = 2});
  const std::vector<float> actions(12, 0.5f);
  ASSERT_TRUE(lanes->Step(actions).ok());

  Derail(first);
  ASSERT_TRUE(lanes->Step(actions).ok());
  EXPECT_TRUE(lanes->steps()[0].interrupted);
  EXPECT_THAT(lanes->steps()[0].cause, HasSubstr("diverged"));
  EXPECT_EQ(lanes->steps()[0].episode_length, 1);
  EXPECT_FALSE(lanes->steps()[1].done());

  ASSERT_TRUE(lanes->Step(actions).ok());
  EXPECT_FALSE(lanes->steps()[0].done());
}

TEST_F(MujocoTest, ControlsThatAreNotNumbersThrow) {
  const auto environment = Started("Hopper-v5");
  const std::vector<double> action(3, std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT([&] { environment->Step({.continuous = action}, observation_); },
              ThrowsMessage<std::runtime_error>(HasSubstr("CTRL at ACTUATOR 0")));
}

}  // namespace
}  // namespace headrace
