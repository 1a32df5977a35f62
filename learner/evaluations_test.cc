// With an evaluator that is a stream to a real run service.
#include "learner/evaluations.h"

#include <deque>
#include <memory>
#include <string>

#include "absl/strings/str_split.h"
#include "common/byte_buffer.h"
#include "common/checkpoint.h"
#include "common/client_stream.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/file.h"
#include "common/grpc_server.h"
#include "common/mutex.h"
#include "common/protocol.h"
#include "common/test_directory.h"
#include "gtest/gtest.h"
#include "learner/run_end.h"

namespace headrace {
namespace {

constexpr char kConfig[] =
    "environment { name: \"Pendulum-v1\" } sac {} seed: 3 evaluation { interval_steps: 100 episodes: 2 } "
    "stop { score: -150 consecutive: 2 }";

// Answers what it is told to, order by order.
class Evaluator {
 public:
  explicit Evaluator(const std::string& address)
      : stream_(ClientStream::Open(MakeChannel(address), "/headrace.v1.Run/Attend",
                                   {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                                    .closed = [](const absl::Status&) {}})) {
    v1::AttendRequest request;
    *request.mutable_join()->mutable_peer() = MakePeer("", "evaluator");
    request.mutable_join()->set_role(v1::EVALUATOR);
    stream_->Send(ToByteBuffer(request));
  }

  v1::Evaluate NextOrder() {
    MutexLock lock(&mutex_);
    while (orders_.empty()) changed_.Wait(&mutex_);
    const v1::Evaluate order = orders_.front();
    orders_.pop_front();
    return order;
  }
  void Answer(uint64_t version, std::initializer_list<double> returns, const std::string& error = "") {
    v1::AttendRequest request;
    v1::EvaluationResult& result = *request.mutable_evaluation();
    result.set_version(version);
    result.set_error(error);
    for (const double value : returns) {
      result.add_returns(value);
      result.add_lengths(200);
    }
    stream_->Send(ToByteBuffer(request));
  }

 private:
  void OnMessage(const grpc::ByteBuffer& message) {
    v1::RunOrder order;
    ASSERT_TRUE(FromByteBuffer(message, order).ok());
    MutexLock lock(&mutex_);
    if (order.has_evaluate()) orders_.push_back(order.evaluate());
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<v1::Evaluate> orders_ ABSL_GUARDED_BY(mutex_);
  const std::unique_ptr<ClientStream> stream_;
};

class EvaluationsTest : public testing::Test {
 protected:
  EvaluationsTest() {
    run_ = *RunDirectory::Open(directory_.path() + "/run", config_, {"test"}, *RealClock());
    progress_ = *ProgressLog::Open(run_.get(), 0, {});
    Begin("run");
    members_.Open({}, [](uint64_t) { return 0; });
    evaluator_ = std::make_unique<Evaluator>(server_->address());
    while (!members_.HasEvaluator()) {
    }
  }
  ~EvaluationsTest() override {
    evaluator_.reset();
    server_.reset();
  }

  // A start of this run, with what counters_ remember.
  void Begin(const std::string& run_id) {
    evaluations_ = std::make_unique<Evaluations>(
        config_, Evaluations::Surroundings{&members_, &parameters_, progress_.get(), &metrics_, &counters_, run_id,
                                           run_->checkpoints()});
  }
  // Publishes weights of that version and has them evaluated, by an evaluator that has just become idle.
  void Order(uint64_t version, uint64_t env_steps) {
    parameters_.Publish(version, env_steps, "policy " + std::to_string(version));
    const RunPosition position = {.env_steps = env_steps, .wall_seconds = 1, .updates = version};
    while (!evaluations_->under_way()) evaluations_->Order(position, version);
  }
  // Takes reports until the evaluation that is under way has come to an end.
  void TakeResult() {
    while (evaluations_->under_way()) {
      const bool evaluating = members_.Evaluating();
      evaluations_->Take(members_.TakeReports().evaluations, evaluating);
    }
  }
  void Evaluate(uint64_t version, uint64_t env_steps, std::initializer_list<double> returns,
                const std::string& error = "") {
    Order(version, env_steps);
    evaluator_->NextOrder();
    evaluator_->Answer(version, returns, error);
    TakeResult();
  }
  bool DueAt(uint64_t env_steps, uint64_t updates = 1) const {
    return evaluations_->due({.env_steps = env_steps, .updates = updates});
  }
  std::string BestPolicy() {
    evaluations_->FinishKeeping();
    const absl::StatusOr<LoadedCheckpoint> best = LoadCheckpoint(run_->checkpoints() + "/" + kBestCheckpoint);
    return best.ok() ? best->files.at(kPolicyFile) : best.status().ToString();
  }

  const v1::RunConfig config_ = *ParseRunConfig(kConfig, "test", {});
  const TestDirectory directory_;
  std::unique_ptr<RunDirectory> run_;
  std::unique_ptr<ProgressLog> progress_;
  MetricRegistry registry_{"learner"};
  LearnerMetrics metrics_{registry_};
  v1::Counters counters_;
  RunService members_{"run", 1, [](const v1::EnvironmentSpec&) { return absl::OkStatus(); }};
  ParameterService parameters_{"run"};
  std::unique_ptr<GrpcServer> server_ = *GrpcServer::Start("127.0.0.1:0", {&members_, &parameters_});
  std::unique_ptr<Evaluations> evaluations_;
  std::unique_ptr<Evaluator> evaluator_;
};

TEST_F(EvaluationsTest, AreDueOnceInEachInterval) {
  EXPECT_FALSE(DueAt(0, /*updates=*/0)) << "there is nothing yet that was learned";
  EXPECT_TRUE(DueAt(40));
  Order(7, 40);
  EXPECT_FALSE(DueAt(40)) << "one is under way";
  const v1::Evaluate order = evaluator_->NextOrder();
  EXPECT_EQ(order.version(), 7);
  EXPECT_EQ(order.episodes(), 2);
  evaluator_->Answer(7, {-100, -200});
  TakeResult();
  EXPECT_EQ(evaluations_->evaluated_version(), 7);
  EXPECT_FALSE(DueAt(99, /*updates=*/8));
  EXPECT_FALSE(DueAt(100)) << "of the same weights it would be the same";
  EXPECT_TRUE(DueAt(100, /*updates=*/8));
  EXPECT_EQ(counters_.last_evaluation(), -150);
  const std::vector<std::string> lines =
      absl::StrSplit(*ReadFile(directory_.path() + "/run/evaluations.csv"), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "40,1,7,-150,50,200,2");
}

TEST_F(EvaluationsTest, BeginWithOtherStatesEachTime) {
  Order(1, 10);
  const uint64_t first = evaluator_->NextOrder().seed();
  evaluator_->Answer(1, {0});
  TakeResult();
  Order(2, 110);
  EXPECT_NE(evaluator_->NextOrder().seed(), first);
}

TEST_F(EvaluationsTest, TheBestWeightsAreKept) {
  Evaluate(1, 10, {-200});
  EXPECT_EQ(BestPolicy(), "policy 1");
  Evaluate(2, 110, {-100});
  EXPECT_EQ(BestPolicy(), "policy 2");
  Evaluate(3, 210, {-150});
  EXPECT_EQ(BestPolicy(), "policy 2");
  EXPECT_EQ(counters_.best_evaluation(), -100);
}

// The checkpoint that a learner goes on from after a crash may be older than they are.
TEST_F(EvaluationsTest, TheBestWeightsAreKeptThoughTheCountersKnowNothingOfThem) {
  Evaluate(1, 10, {-100});
  EXPECT_EQ(BestPolicy(), "policy 1");
  counters_.set_best_evaluation(-200);
  Begin("run");
  EXPECT_EQ(counters_.best_evaluation(), -100);
  Evaluate(2, 110, {-150});
  EXPECT_EQ(BestPolicy(), "policy 1");
  counters_.clear_best_evaluation();
  Begin("another run");
  EXPECT_FALSE(counters_.has_best_evaluation());
  Evaluate(3, 210, {-150});
  EXPECT_EQ(BestPolicy(), "policy 3");
}

TEST_F(EvaluationsTest, OneThatFailsIsDueAgainUntilItIsGivenUp) {
  for (int attempt = 1; attempt <= 3; ++attempt) {
    EXPECT_TRUE(DueAt(40));
    Evaluate(static_cast<uint64_t>(attempt), 40, {}, "the simulator fell over");
    EXPECT_EQ(evaluations_->failures(), attempt);
  }
  EXPECT_FALSE(DueAt(40));
  EXPECT_TRUE(DueAt(100));
  Evaluate(4, 100, {-100});
  EXPECT_EQ(evaluations_->failures(), 0);
}

TEST_F(EvaluationsTest, OneWhoseEvaluatorGoesIsDueAgain) {
  Order(7, 40);
  evaluator_->NextOrder();
  evaluator_.reset();
  TakeResult();
  EXPECT_TRUE(DueAt(40));
  EXPECT_EQ(evaluations_->evaluated_version(), 0);
  EXPECT_EQ(evaluations_->failures(), 0);
}

TEST_F(EvaluationsTest, TheScoreMustBeReachedAsOftenInARowAsConfigured) {
  Evaluate(1, 10, {-140});
  EXPECT_FALSE(ScoreReached(config_.stop(), counters_));
  Evaluate(2, 110, {-160});
  Evaluate(3, 210, {-140});
  EXPECT_FALSE(ScoreReached(config_.stop(), counters_));
  Evaluate(4, 310, {-150});
  EXPECT_TRUE(ScoreReached(config_.stop(), counters_));
}

TEST_F(EvaluationsTest, WhatCannotBeWrittenIsCountedAndEndsNothing) {
  ASSERT_TRUE(RemoveTree(run_->checkpoints()).ok());
  ASSERT_TRUE(WriteFileAtomically(run_->checkpoints(), "a file where a directory should be").ok());
  Evaluate(1, 10, {-140});
  evaluations_->FinishKeeping();
  EXPECT_EQ(metrics_.write_failures.Value(), 1);
  EXPECT_EQ(counters_.last_evaluation(), -140);
}

TEST_F(EvaluationsTest, TheBestIsOneOfWhichTheWeightsCouldBeKept) {
  const std::string best = run_->checkpoints() + "/" + kBestCheckpoint;
  ASSERT_TRUE(WriteFileAtomically(best, "a file where a directory should be").ok());
  Evaluate(1, 10, {-100});
  evaluations_->FinishKeeping();
  EXPECT_FALSE(counters_.has_best_evaluation());
  ASSERT_TRUE(RemoveTree(best).ok());
  Evaluate(2, 110, {-150});
  EXPECT_EQ(BestPolicy(), "policy 2");
}

}  // namespace
}  // namespace headrace
