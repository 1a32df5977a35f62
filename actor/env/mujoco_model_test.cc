#include "actor/env/mujoco_model.h"

#include <cstdio>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "actor/env/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(MujocoModelTest, IsSharedByAllWhoHoldIt) {
  const auto first = *SharedMujocoModel("ant.xml");
  const auto second = *SharedMujocoModel("ant.xml");
  EXPECT_EQ(first, second);
  EXPECT_EQ(first.use_count(), 2);
  EXPECT_NE(*SharedMujocoModel("hopper.xml"), first);
}

TEST(MujocoModelTest, LoadsOnceWhenManyThreadsAskAtTheSameTime) {
  std::vector<std::shared_ptr<const mjModel>> models(4);
  std::vector<std::thread> threads;
  for (auto& model : models) threads.emplace_back([&model] { model = *SharedMujocoModel("humanoid.xml"); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& model : models) EXPECT_EQ(model, models[0]);
}

TEST(MujocoModelTest, UnknownFilesAreNotFound) {
  EXPECT_EQ(SharedMujocoModel("snail.xml").status().code(), absl::StatusCode::kNotFound);
}

TEST(MujocoModelTest, FatalErrorsBecomeExceptions) {
  ASSERT_TRUE(SharedMujocoModel("hopper.xml").ok());
  EXPECT_THAT([] { CallMujoco([] { mju_error("leg %d fell off", 3); }); },
              ThrowsMessage<std::runtime_error>(HasSubstr("leg 3 fell off")));
}

TEST(MujocoModelTest, FatalErrorsInsideMujocoAreSurvived) {
  const auto model = *SharedMujocoModel("hopper.xml");
  const MujocoData data = MakeMujocoData(*model);
  // Asks for more memory than the simulation's arena has.
  EXPECT_THAT([&] { CallMujoco([&] { mj_stackAllocNum(data.get(), data->narena); }); },
              ThrowsMessage<std::runtime_error>(HasSubstr("stack overflow")));
  mj_resetData(model.get(), data.get());
  CallMujoco([&] { mj_step(model.get(), data.get()); });
  EXPECT_DOUBLE_EQ(data->time, model->opt.timestep);
}

TEST(MujocoModelTest, ErrorsGoToTheInnermostCall) {
  ASSERT_TRUE(SharedMujocoModel("hopper.xml").ok());
  std::string inner;
  const auto outer = [&] {
    CallMujoco([&] {
      try {
        CallMujoco([] { mju_error("inner"); });
      } catch (const std::runtime_error& error) {
        inner = error.what();
      }
      mju_error("outer");
    });
  };
  EXPECT_THAT(outer, ThrowsMessage<std::runtime_error>(HasSubstr("outer")));
  EXPECT_THAT(inner, HasSubstr("inner"));
}

TEST(MujocoModelTest, WarningsAreKeptAndWrittenNowhere) {
  const auto model = *SharedMujocoModel("half_cheetah.xml");  // warns about a deprecated attribute when it is loaded
  const MujocoData data = MakeMujocoData(*model);
  data->qvel[0] = std::numeric_limits<double>::quiet_NaN();
  CallMujoco([&] { mj_step(model.get(), data.get()); });
  EXPECT_THAT(LastMujocoWarning(), HasSubstr("QVEL at DOF 0"));
  CallMujoco([] {});
  EXPECT_EQ(LastMujocoWarning(), "");
  EXPECT_FALSE(std::filesystem::exists("MUJOCO_LOG.TXT"));
}

TEST(MujocoTest, ADivergedSimulationThrowsAndResetsAgain) {
  const auto environment = *MakeEnvironment("HalfCheetah-v5");
  std::vector<std::byte> observation(environment->facts().observation.bytes());
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kEnvironment);
  environment->Reset(random, observation);

  // The first numbers of the state are the time and the positions; a huge one cannot be simulated.
  std::vector<double> state = environment->State();
  state[1] = 1e30;
  ASSERT_TRUE(environment->SetState(state).ok());
  const std::vector<double> action(6, 0.5);
  EXPECT_THAT(
      [&] { environment->Step({.continuous = action}, observation); },
      ThrowsMessage<std::runtime_error>(HasSubstr("the simulation of HalfCheetah-v5 diverged: Nan, Inf or huge")));

  environment->Reset(random, observation);
  EXPECT_FALSE(environment->Step({.continuous = action}, observation).terminated);
}

TEST(MujocoTest, ControlsThatAreNotNumbersThrow) {
  const auto environment = *MakeEnvironment("Hopper-v5");
  std::vector<std::byte> observation(environment->facts().observation.bytes());
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kEnvironment);
  environment->Reset(random, observation);
  const std::vector<double> action(3, std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT([&] { environment->Step({.continuous = action}, observation); },
              ThrowsMessage<std::runtime_error>(HasSubstr("CTRL")));
}

}  // namespace
}  // namespace headrace
