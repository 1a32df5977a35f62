#include "actor/env/mujoco_model.h"

#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

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

}  // namespace
}  // namespace headrace
