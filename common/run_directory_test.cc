#include "common/run_directory.h"

#include <nlohmann/json.hpp>
#include <string>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "common/config.h"
#include "common/file.h"
#include "common/test_directory.h"
#include "common/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

ABSL_DECLARE_FLAG(std::string, revision);

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RunDirectoryTest : public testing::Test {
 protected:
  RunDirectoryTest() { clock_.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'000'000'000))); }

  v1::RunConfig Config(const std::vector<std::string>& overrides = {}) {
    return *ParseRunConfig("environment { name: \"Pendulum-v1\" } sac {}", "test", overrides);
  }
  absl::StatusOr<std::unique_ptr<RunDirectory>> Open(const v1::RunConfig& config) {
    return RunDirectory::Open(directory_, config, {"learner", "--config=a b"}, clock_);
  }
  std::string Read(const std::string& name) { return *ReadFile(directory_ + "/" + name); }

  FakeClock clock_;
  const TestDirectory parent_;
  const std::string directory_ = parent_.path() + "/run";
};

TEST_F(RunDirectoryTest, HasAllItsFilesFromTheStart) {
  const auto run = Open(Config({"seed=7"}));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(*ListDirectory(directory_), ElementsAre("checkpoints", "config.textproto", "evaluations.csv", "logs",
                                                      "metadata.json", "progress.csv", "tb"));
  EXPECT_EQ(Read("config.textproto"), ResolvedText(Config({"seed=7"})));
  EXPECT_EQ(Read("evaluations.csv"), "env_steps,wall_seconds,updates,mean_return,std_return,mean_length,episodes\n");
  EXPECT_EQ(Read("progress.csv"), "env_steps,wall_seconds,updates\n");
}

TEST_F(RunDirectoryTest, TellsInMetadataWhatRanWhereAndWhen) {
  absl::SetFlag(&FLAGS_revision, "0c1d2e3f-dirty");
  ASSERT_TRUE(Open(Config({"seed=7"})).ok());
  const nlohmann::json metadata = nlohmann::json::parse(Read("metadata.json"));
  EXPECT_EQ(metadata["command_line"], nlohmann::json({"learner", "--config=a b"}));
  EXPECT_EQ(metadata["version"], kVersion);
  EXPECT_EQ(metadata["revision"], "0c1d2e3f-dirty");
  EXPECT_EQ(metadata["seed"], 7);
  EXPECT_GE(metadata["machine"]["cores"], 1);
  EXPECT_GT(metadata["machine"]["memory_bytes"], 1 << 20);
  EXPECT_EQ(metadata["machine"].count("hostname"), 1u);
  EXPECT_EQ(metadata["machine"].count("cpu"), 1u);
  EXPECT_EQ(metadata["started"], "2001-09-09T01:46:40Z");  // 10^9 seconds after 1970
  EXPECT_EQ(metadata["earlier_starts"], nlohmann::json::array());
}

TEST_F(RunDirectoryTest, KeepsInMetadataHowItWasStartedBefore) {
  std::vector<nlohmann::json> starts;
  for (const char* const command : {"run --init-from=other", "run --set=stop.env_steps=9", "run"}) {
    const auto run = RunDirectory::Open(directory_, Config(), {command}, clock_);
    ASSERT_TRUE(run.ok()) << run.status();
    if (starts.empty()) ASSERT_TRUE((*run)->NoteInitialisation("other").ok());
    nlohmann::json start = nlohmann::json::parse(Read("metadata.json"));
    EXPECT_EQ(start["command_line"], nlohmann::json({command}));
    EXPECT_EQ(start["initialised_from"], "other");
    EXPECT_EQ(start["earlier_starts"], nlohmann::json(starts));
    start.erase("initialised_from");
    start.erase("earlier_starts");
    starts.push_back(std::move(start));
    clock_.Advance(std::chrono::hours(1));
  }
  EXPECT_EQ(starts[0]["started"], "2001-09-09T01:46:40Z");
  EXPECT_EQ(starts[2]["started"], "2001-09-09T03:46:40Z");
}

TEST_F(RunDirectoryTest, AMetadataFileThatSomebodyHasDamagedIsWrittenAnew) {
  for (const char* const damaged : {"", "{", "[]", "{}"}) {
    ASSERT_TRUE(Open(Config()).ok());
    ASSERT_TRUE(WriteFileAtomically(directory_ + "/metadata.json", damaged).ok());
    const auto run = Open(Config());
    ASSERT_TRUE(run.ok()) << run.status();
    EXPECT_EQ(nlohmann::json::parse(Read("metadata.json"))["earlier_starts"], nlohmann::json::array());
  }
  ASSERT_TRUE(WriteFileAtomically(directory_ + "/metadata.json", "{\"earlier_starts\": 3, \"seed\": 1}").ok());
  ASSERT_TRUE(Open(Config()).ok());
  EXPECT_EQ(nlohmann::json::parse(Read("metadata.json"))["earlier_starts"], nlohmann::json::parse("[{\"seed\": 1}]"));
}

TEST_F(RunDirectoryTest, AppendsProgressAndEvaluations) {
  const auto run = Open(Config());
  ASSERT_TRUE((*run)->AppendProgress({100, 0.5, 3}, {{"charts/SPS", 200}}).ok());
  ASSERT_TRUE((*run)->AppendEvaluation({100, 0.5, 3}, {-150.25, 10, 200, 5}).ok());
  EXPECT_EQ(Read("progress.csv"), "env_steps,wall_seconds,updates,charts/SPS\n100,0.5,3,200\n");
  EXPECT_THAT(Read("evaluations.csv"), HasSubstr("\n100,0.5,3,-150.25,10,200,5\n"));
}

TEST_F(RunDirectoryTest, ForgetsWhatCameAfterTheCheckpoint) {
  {
    const auto run = Open(Config());
    const auto append = [&run](uint64_t steps, double seconds, uint64_t updates) {
      ASSERT_TRUE((*run)->AppendProgress({steps, seconds, updates}, {}).ok());
      ASSERT_TRUE((*run)->AppendEvaluation({steps, seconds, updates}, {}).ok());
    };
    append(100, 1, 10);
    append(200, 2, 20);
    append(200, 2.5, 21);  // all steps were done, the updates that they allow were not
    append(300, 3, 22);
  }
  const auto run = Open(Config());
  const absl::StatusOr<double> wall_seconds = (*run)->ForgetAfter(200, 20);
  ASSERT_TRUE(wall_seconds.ok()) << wall_seconds.status();
  EXPECT_EQ(*wall_seconds, 3) << "was spent, also on what is forgotten";
  EXPECT_EQ(Read("progress.csv"), "env_steps,wall_seconds,updates\n100,1,10\n200,2,20\n");
  EXPECT_THAT(Read("evaluations.csv"), testing::EndsWith("episodes\n100,1,10,0,0,0,0\n200,2,20,0,0,0,0\n"));
}

TEST_F(RunDirectoryTest, RefusesAnotherConfigurationAndChangesNothing) {
  ASSERT_TRUE(Open(Config()).ok());
  const std::string metadata = Read("metadata.json");
  const absl::Status status = Open(Config({"seed=8"})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("seed: 1 in the run, 8 now"));
  EXPECT_EQ(Read("metadata.json"), metadata);
  EXPECT_EQ(Read("config.textproto"), ResolvedText(Config()));
}

TEST_F(RunDirectoryTest, StoresWhatAResumeMayChange) {
  ASSERT_TRUE(Open(Config()).ok());
  ASSERT_TRUE(Open(Config({"actor.processes=8"})).ok());
  EXPECT_THAT(Read("config.textproto"), HasSubstr("processes: 8"));
}

TEST_F(RunDirectoryTest, NamesAPathThatCannotBeADirectory) {
  ASSERT_TRUE(WriteFileAtomically(directory_, "a file").ok());
  EXPECT_THAT(Open(Config()).status().message(), HasSubstr(directory_));
}

}  // namespace
}  // namespace headrace
