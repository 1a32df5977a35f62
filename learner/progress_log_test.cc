#include "learner/progress_log.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/file.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

class ProgressLogTest : public testing::Test {
 protected:
  ProgressLogTest() {
    const v1::RunConfig config = *ParseRunConfig("environment { name: \"Pendulum-v1\" } sac {}", "test", {});
    run_ = *RunDirectory::Open(directory_.path() + "/run", config, {"test"}, *RealClock());
  }

  void Open(const RunPosition& start, const google::protobuf::RepeatedPtrField<v1::Episode>& recent = {}) {
    absl::StatusOr<std::unique_ptr<ProgressLog>> log = ProgressLog::Open(run_.get(), start.env_steps, start, recent);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  static v1::Episode Episode(double value, uint64_t length, v1::EpisodeEnd end = v1::TERMINATED) {
    v1::Episode episode;
    episode.set_episode_return(value);
    episode.set_length(length);
    episode.set_end(end);
    return episode;
  }
  // Rows of a CSV file of the run, by column.
  std::vector<std::map<std::string, std::string>> Rows(const std::string& file) {
    const std::string text = *ReadFile(directory_.path() + "/run/" + file);
    std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
    const std::vector<std::string> names = absl::StrSplit(lines[0], ',');
    std::vector<std::map<std::string, std::string>> rows;
    for (size_t i = 1; i < lines.size(); ++i) {
      const std::vector<std::string> cells = absl::StrSplit(lines[i], ',');
      for (size_t c = 0; c < cells.size(); ++c) {
        if (c == 0) rows.emplace_back();
        rows.back()[names[c]] = cells[c];
      }
    }
    return rows;
  }
  static double Number(const std::string& text) {
    double value = NAN;
    EXPECT_TRUE(absl::SimpleAtod(text, &value)) << text;
    return value;
  }
  std::string Events() {
    const std::string tensorboard = run_->tensorboard();
    return *ReadFile(tensorboard + "/" + ListDirectory(tensorboard)->at(0));
  }

  const TestDirectory directory_;
  std::unique_ptr<RunDirectory> run_;
  std::unique_ptr<ProgressLog> log_;
};

// Resumed at 1000 steps, 10 s and 100 updates; 4 s later 3000 steps and 500 updates:
// (3000 - 1000) / 4 = 500 steps/s and (500 - 100) / 4 = 100 updates/s, of this start alone.
TEST_F(ProgressLogTest, RatesAreThoseSinceTheRowBefore) {
  Open({.env_steps = 1000, .wall_seconds = 10, .updates = 100});
  log_->AddWait(0.5);
  log_->AddWait(0.5);
  log_->SetPolicyLag(3.5);
  ReplaySampler::Stats replay;
  replay.items = 2990;
  ASSERT_TRUE(
      log_->Write({.env_steps = 3000, .wall_seconds = 14, .updates = 500}, replay, {{"losses/critic", 0.5}}).ok());
  // Two seconds in which nothing happened.
  ASSERT_TRUE(
      log_->Write({.env_steps = 3000, .wall_seconds = 16, .updates = 500}, replay, {{"losses/critic", 0.5}}).ok());
  const auto rows = Rows("progress.csv");
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows[0].at("env_steps"), "3000");
  EXPECT_EQ(Number(rows[0].at("charts/SPS")), 500);
  EXPECT_EQ(Number(rows[0].at("charts/updates_per_second")), 100);
  EXPECT_EQ(Number(rows[0].at("charts/batch_wait_share")), 0.25);  // 1 s of 4
  EXPECT_EQ(Number(rows[0].at("charts/policy_lag_updates")), 3.5);
  EXPECT_EQ(Number(rows[0].at("replay/items")), 2990);
  EXPECT_EQ(Number(rows[0].at("losses/critic")), 0.5);
  EXPECT_EQ(Number(rows[1].at("charts/SPS")), 0);
  EXPECT_EQ(Number(rows[1].at("charts/batch_wait_share")), 0);
}

TEST_F(ProgressLogTest, AResumedRunHasTheReturnThatItHad) {
  google::protobuf::RepeatedPtrField<v1::Episode> recent;
  for (const double value : {-3.0, -1.0}) {
    v1::Episode& episode = *recent.Add();
    episode.set_episode_return(value);
    episode.set_length(10);
  }
  Open({}, recent);
  EXPECT_EQ(log_->RecentReturn(), -2);
  EXPECT_EQ(log_->RecentReturnDeviation(), 1);
  ASSERT_EQ(log_->RecentEpisodes().size(), 2);
  EXPECT_EQ(log_->RecentEpisodes()[1].episode_return(), -1);
  EXPECT_EQ(log_->RecentEpisodes()[1].length(), 10);
}

TEST_F(ProgressLogTest, ReturnsAreTheMeanOfTheLastHundredFinishedEpisodes) {
  Open({});
  EXPECT_TRUE(std::isnan(log_->RecentReturn()));
  EXPECT_TRUE(std::isnan(log_->RecentReturnDeviation()));
  log_->AddEpisode(Episode(1e9, 1, v1::INTERRUPTED));
  EXPECT_TRUE(std::isnan(log_->RecentReturn()));
  for (int i = 0; i < 50; ++i) log_->AddEpisode(Episode(-1000, 10));
  for (int i = 0; i < 50; ++i) log_->AddEpisode(Episode(1, 20));
  EXPECT_EQ(log_->RecentReturn(), (-1000.0 + 1) / 2);
  for (int i = 0; i < 50; ++i) log_->AddEpisode(Episode(3, 40));
  EXPECT_EQ(log_->RecentReturn(), 2);
  ASSERT_TRUE(log_->Write({.env_steps = 10, .wall_seconds = 1}, {}, {}).ok());
  const auto rows = Rows("progress.csv");
  EXPECT_EQ(Number(rows.at(0).at("rollout/ep_rew_mean")), 2);
  EXPECT_EQ(Number(rows.at(0).at("rollout/ep_len_mean")), 30);
}

TEST_F(ProgressLogTest, NoTimeNoRow) {
  Open({.wall_seconds = 5});
  ASSERT_TRUE(log_->Write({.env_steps = 10, .wall_seconds = 5}, {}, {}).ok());
  EXPECT_TRUE(Rows("progress.csv").empty());
}

TEST_F(ProgressLogTest, ItKnowsWhetherTheNewestRowSaysAll) {
  const RunPosition start{.env_steps = 10, .wall_seconds = 1, .updates = 5};
  Open(start);
  EXPECT_TRUE(log_->UpToDate(start));
  EXPECT_TRUE(log_->UpToDate({.env_steps = 10, .wall_seconds = 2, .updates = 5}));
  const RunPosition next{.env_steps = 11, .wall_seconds = 2, .updates = 5};
  EXPECT_FALSE(log_->UpToDate(next));
  EXPECT_FALSE(log_->UpToDate({.env_steps = 10, .wall_seconds = 2, .updates = 6}));
  ASSERT_TRUE(log_->Write(next, {}, {}).ok());
  EXPECT_TRUE(log_->UpToDate(next));
}

TEST_F(ProgressLogTest, EvaluationsGoToTheirOwnFileAndToTensorBoard) {
  Open({});
  ASSERT_TRUE(log_->WriteEvaluation({.env_steps = 2000, .wall_seconds = 3.5, .updates = 1000},
                                    {.mean_return = -150, .std_return = 20, .mean_length = 200, .episodes = 10})
                  .ok());
  ASSERT_TRUE(log_->Write({.env_steps = 2100, .wall_seconds = 4}, {}, {}).ok());
  const auto rows = Rows("evaluations.csv");
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows[0].at("env_steps"), "2000");
  EXPECT_EQ(Number(rows[0].at("mean_return")), -150);
  EXPECT_EQ(rows[0].at("episodes"), "10");
  // The tags, as they stand in the event file; common/event_file_test.py reads such files with TensorBoard itself.
  const std::string events = Events();
  for (const std::string tag : {"eval/mean_reward", "eval/mean_ep_length", "charts/SPS", "charts/updates_per_second"}) {
    EXPECT_THAT(events, HasSubstr(tag));
  }
}

}  // namespace
}  // namespace headrace
