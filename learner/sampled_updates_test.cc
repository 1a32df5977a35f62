// Updates with batches of a shard that serves on loopback; the algorithm is one that only looks at what it gets.
#include "learner/sampled_updates.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ATen/ops/tensor.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros.h"
#include "algorithm/local_optimizer.h"
#include "common/config.h"
#include "common/metrics.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learner/learner_metrics.h"
#include "replay/service_testing.h"

namespace headrace {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

enum Slice : size_t { kValue, kVersion };

class Onlooker final : public Algorithm {
 public:
  std::vector<ParameterGroup> ParameterGroups() override { return {}; }
  void Update(const Batch& batch, GradientSink&) override {
    values.clear();
    versions.clear();
    weights.clear();
    for (int64_t i = 0; i < batch.slices[kValue].size(0); ++i) {
      values.push_back(batch.slices[kValue][i][0].item<float>());
      versions.push_back(batch.slices[kVersion][i][0].item<int64_t>());
      if (batch.weights.defined()) weights.push_back(batch.weights[i].item<float>());
    }
    progress = batch.progress;
    if (priority_of_two > 0 || std::isnan(priority_of_two)) {
      priorities_ = at::where(batch.slices[kValue].select(1, 0).eq(2), priority_of_two, 1.0).to(at::kFloat);
    }
  }
  at::Tensor Priorities() const override { return priorities_; }
  std::vector<NamedTensor> PolicyTensors() const override { return {}; }
  std::vector<NamedTensor> StateTensors() const override { return {}; }
  const std::vector<std::string>& MetricNames() const override {
    static const auto* const names = new std::vector<std::string>;
    return *names;
  }
  at::Tensor Metrics() const override { return at::zeros({0}); }

  // Of the newest batch.
  std::vector<float> values;
  std::vector<int64_t> versions;
  std::vector<float> weights;
  double progress = -1;
  // What items whose value is 2 get; others get 1. 0: there are no priorities.
  double priority_of_two = 0;

 private:
  at::Tensor priorities_;
};

class SampledUpdatesTest : public ::testing::Test {
 protected:
  SampledUpdatesTest() {
    const auto add = [this](const std::string& name, v1::DataType type, uint32_t rows) {
      v1::Column& column = *experience_.signature.add_columns();
      column.set_name(name);
      column.set_data_type(type);
      v1::ColumnSlice& slice = experience_.slices.emplace_back();
      slice.set_column(name);
      slice.set_rows(rows);
    };
    add("value", v1::FLOAT32, 1);
    add("policy_version", v1::INT64, 1);
    experience_.batch_size = 4;
    experience_.updates_per_step = 1000;
  }

  // Each actor hands in one step at a time, and waits for the next policy.
  void InRounds() {
    experience_.queue = true;
    experience_.max_times_sampled = 1;
    experience_.round_steps = 1;
    experience_.least_item_rows = 1;
    experience_.batch_size = 2;
    experience_.sampler = v1::FIRST_IN_FIRST_OUT;
    for (v1::ColumnSlice& slice : experience_.slices) slice.set_rows(2);
  }

  absl::Status TryToStart() {
    SampledUpdates::Options options;
    options.config = *ParseRunConfig(
        "environment { name: \"Pendulum-v1\" } replay { min_steps: 1 lead_steps: 1000 capacity: 100 "
        "budget_bytes: 1048576 } checkpoint { replay: false } sac {}",
        "test", {});
    options.experience = experience_;
    options.peer = MakePeer("run", "learner");
    options.addresses = {shard_.address()};
    absl::StatusOr<std::unique_ptr<SampledUpdates>> updates =
        SampledUpdates::Start(options, &algorithm_, &optimizer_, &metrics_);
    if (!updates.ok()) return updates.status();
    updates_ = *std::move(updates);
    return absl::OkStatus();
  }

  void Start() {
    const absl::Status started = TryToStart();
    ASSERT_TRUE(started.ok()) << started;
    ASSERT_FALSE(shard_.shard().Tables().empty());
    Connect(1);
  }

  void Connect(uint64_t writer) {
    ReplayWriterOptions options = TestWriterOptions(shard_.address(), writer);
    options.table = shard_.table().spec().name();
    options.signature = experience_.signature;
    options.pattern.until_cut = experience_.round_steps > 0;
    writer_ = *ReplayWriter::Start(options);
  }

  // One step of an episode that ends with it.
  void WriteStep(float value, uint64_t version) {
    const auto append = [this](float number, int64_t of, v1::EpisodeEnd end) {
      const std::byte* const columns[] = {reinterpret_cast<const std::byte*>(&number),
                                          reinterpret_cast<const std::byte*>(&of)};
      writer_->Append(0, columns, end);
    };
    append(value, static_cast<int64_t>(version), v1::NOT_ENDED);
    append(-1, 0, experience_.round_steps > 0 ? v1::CUT : v1::TERMINATED);
    const absl::Status drained = writer_->Drain(Soon());
    ASSERT_TRUE(drained.ok()) << drained;
  }

  // The next batch, and whether it is of use.
  bool Next(const UpdateSource::Moment& moment) {
    const absl::StatusOr<UpdateSource::Arrival> arrival = updates_->Next(moment, Soon());
    EXPECT_TRUE(arrival.ok()) << arrival.status();
    return arrival.ok() && arrival->usable;
  }

  void Learn(const UpdateSource::Moment& moment = {.version = PackPolicyVersion(1, 100)}) {
    ASSERT_TRUE(Next(moment));
    const absl::Status updated = updates_->Update(moment);
    ASSERT_TRUE(updated.ok()) << updated;
    updates_->Done(moment);
  }

  TestShard shard_;
  Experience experience_;
  Onlooker algorithm_;
  LocalOptimizer optimizer_{{}};
  MetricRegistry registry_{"learner"};
  LearnerMetrics metrics_{registry_};
  std::unique_ptr<SampledUpdates> updates_;
  std::unique_ptr<ReplayWriter> writer_;
};

TEST_F(SampledUpdatesTest, TheAlgorithmGetsWhatWasWritten) {
  Start();
  for (const float value : {1.0f, 2.0f, 3.0f}) WriteStep(value, PackPolicyVersion(1, static_cast<uint64_t>(value)));
  // Of steps that it does not wait for it hears with its batches.
  int batches = 0;
  do {
    Learn({.version = PackPolicyVersion(1, 3), .progress = 0.25});
    ++batches;
  } while (updates_->env_steps() < 3 && batches < 1000);
  ASSERT_EQ(algorithm_.values.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(PolicyUpdate(static_cast<uint64_t>(algorithm_.versions[i])), algorithm_.values[i]);
    EXPECT_GE(algorithm_.values[i], 1);
  }
  EXPECT_EQ(algorithm_.progress, 0.25);
  EXPECT_TRUE(algorithm_.weights.empty());
  EXPECT_EQ(updates_->env_steps(), 3u);
  EXPECT_EQ(metrics_.sampled_bytes.Value(), batches * 4 * (4 + 8));
  EXPECT_FALSE(updates_->RoundLost());
}

TEST_F(SampledUpdatesTest, ThePolicyLagIsTheMeanOfTheBatch) {
  Start();
  WriteStep(1, PackPolicyVersion(1, 90));
  WriteStep(2, 0);  // a random action, of no policy
  EXPECT_TRUE(std::isnan(updates_->policy_lag()));
  for (int update = 0; update < 64 && std::isnan(updates_->policy_lag()); ++update) Learn();
  EXPECT_EQ(updates_->policy_lag(), 10);
}

TEST_F(SampledUpdatesTest, PrioritiesGoToTheShardAndWeightsMakeUpForThem) {
  experience_.sampler = v1::PROPORTIONAL;
  experience_.importance_exponent = 1;
  experience_.batch_size = 32;
  algorithm_.priority_of_two = 3;
  Start();
  WriteStep(1, 0);
  WriteStep(2, 0);
  while (shard_.table().State().mass() != 4) Learn();
  // Those that were on their way are of the masses before.
  for (int batch = 0; batch < 10; ++batch) Learn();
  for (size_t i = 0; i < algorithm_.values.size(); ++i) {
    EXPECT_FLOAT_EQ(algorithm_.weights[i], algorithm_.values[i] == 2 ? 1.0f / 3 : 1.0f);
  }
  EXPECT_THAT(algorithm_.values, ::testing::Contains(1));
}

TEST_F(SampledUpdatesTest, PrioritiesThatAreNoNumbersEndTraining) {
  experience_.sampler = v1::PROPORTIONAL;
  algorithm_.priority_of_two = std::nan("");
  Start();
  WriteStep(2, 0);
  WriteStep(2, 0);
  ASSERT_TRUE(Next({}));
  const absl::Status updated = updates_->Update({});
  EXPECT_TRUE(absl::IsInternal(updated));
  EXPECT_THAT(std::string(updated.message()), HasSubstr("diverged"));
}

TEST_F(SampledUpdatesTest, ItemsOfAnEarlierRoundAreDrawnAnewAndCounted) {
  InRounds();
  Start();
  const UpdateSource::Moment moment = {.version = PackPolicyVersion(1, 2),
                                       .published_version = PackPolicyVersion(1, 2)};
  WriteStep(1, PackPolicyVersion(1, 1));
  WriteStep(2, PackPolicyVersion(1, 2));
  EXPECT_FALSE(Next(moment));
  EXPECT_EQ(metrics_.stale_items.Value(), 1);
  WriteStep(3, PackPolicyVersion(1, 2));
  Learn(moment);
  EXPECT_THAT(algorithm_.values, UnorderedElementsAre(2, 3));
  EXPECT_THAT(algorithm_.versions, Each(static_cast<int64_t>(PackPolicyVersion(1, 2))));
}

TEST_F(SampledUpdatesTest, ARoundThatAShardHasTakenAlongBeginsAgainOnce) {
  InRounds();
  Start();
  EXPECT_FALSE(updates_->RoundLost());
  shard_.Restart();
  const auto patience = Soon();
  bool lost = false;
  while (!lost && std::chrono::steady_clock::now() < patience) {
    lost = updates_->RoundLost();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(lost);
  EXPECT_FALSE(updates_->RoundLost());
}

TEST_F(SampledUpdatesTest, AQueueWithoutPlaceForABatchIsRefused) {
  InRounds();
  experience_.batch_size = 50'000;
  const absl::Status status = TryToStart();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("replay.budget_bytes: expected place for a batch of 50000"));
}

}  // namespace
}  // namespace headrace
