#include "actor/attendance.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/grpc_server.h"
#include "common/protocol.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "learner/run_service.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

std::chrono::steady_clock::time_point Now() { return std::chrono::steady_clock::now(); }
std::chrono::steady_clock::time_point Soon() { return Now() + std::chrono::seconds(30); }

v1::Join Join(v1::Role role, uint32_t shape = 3) {
  v1::Join join;
  *join.mutable_peer() = MakePeer("", "actor of process 7");
  join.set_role(role);
  join.mutable_environment()->set_name("Pendulum-v1");
  join.mutable_environment()->mutable_observation()->add_shape(shape);
  return join;
}

v1::AttendRequest EpisodeReport(double value) {
  v1::AttendRequest report;
  report.add_episodes()->set_episode_return(value);
  return report;
}

// A learner as far as members see it; it can die and come back on the same port.
class TestLearner {
 public:
  explicit TestLearner(const std::string& run_id = "run", const std::string& address = "127.0.0.1:0",
                       const std::string& table = "experience")
      : service_(run_id, 1, [](const v1::EnvironmentSpec&) { return absl::OkStatus(); }),
        server_(*GrpcServer::Start(address, {&service_})) {
    v1::Lease lease;
    lease.set_run_id(run_id);
    lease.mutable_table()->set_name(table);
    service_.Open(lease, [](uint64_t) { return 0; });
  }

  RunService& service() { return service_; }
  const std::string& address() const { return server_->address(); }
  // Returns of the episodes reported next; waits for `count` of them.
  std::vector<double> Returns(size_t count) {
    std::vector<double> returns;
    while (returns.size() < count) {
      for (const v1::Episode& episode : service_.TakeReports().episodes) returns.push_back(episode.episode_return());
    }
    return returns;
  }

 private:
  RunService service_;
  std::unique_ptr<GrpcServer> server_;
};

TEST(AttendanceTest, GrantsTheLeaseOfTheLearner) {
  TestLearner learner;
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(learner.address(), Join(v1::ACTOR));
  const absl::StatusOr<v1::Lease> lease = attendance->WaitForLease(Soon());
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->run_id(), "run");
  EXPECT_EQ(lease->table().name(), "experience");
  EXPECT_FALSE(attendance->stopped());
  EXPECT_TRUE(attendance->status().ok());
}

TEST(AttendanceTest, WaitsForALearnerThatIsNotThereYet) {
  std::string address;
  { address = TestLearner().address(); }
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(address, Join(v1::ACTOR));
  const absl::Status status = attendance->WaitForLease(Now()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address));
  TestLearner learner("run", address);
  EXPECT_TRUE(attendance->WaitForLease(Soon()).ok());
}

TEST(AttendanceTest, KeepsItsIndexOverAReconnectAndHandsInWhatWasReportedMeanwhile) {
  auto learner = std::make_unique<TestLearner>();
  const std::string address = learner->address();
  const std::unique_ptr<Attendance> first = std::make_unique<Attendance>(address, Join(v1::ACTOR));
  ASSERT_EQ(first->WaitForLease(Soon())->index(), 0);
  const std::unique_ptr<Attendance> second = std::make_unique<Attendance>(address, Join(v1::ACTOR));
  ASSERT_EQ(second->WaitForLease(Soon())->index(), 1);
  learner = nullptr;
  learner = std::make_unique<TestLearner>("run", address);
  // What is reported before the loss has been noticed goes with the stream; nothing does after that.
  int reported = 0;
  std::vector<double> returns;
  while (returns.empty() || returns.back() < reported) {
    if (returns.empty()) second->Report(EpisodeReport(++reported));
    for (const v1::Episode& episode : learner->service().TakeReports().episodes) {
      if (!returns.empty()) EXPECT_EQ(episode.episode_return(), returns.back() + 1);
      returns.push_back(episode.episode_return());
    }
  }
  EXPECT_EQ(second->WaitForLease(Soon())->index(), 1);
}

TEST(AttendanceTest, WhatWasReportedBeforeLeavingArrives) {
  TestLearner learner;
  {
    Attendance attendance(learner.address(), Join(v1::ACTOR));
    ASSERT_TRUE(attendance.WaitForLease(Soon()).ok());
    for (int i = 0; i < 100; ++i) attendance.Report(EpisodeReport(i));
  }
  ASSERT_TRUE(learner.service().WaitUntilEmpty(Soon()));
  EXPECT_EQ(learner.service().TakeReports().episodes.size(), 100u);
}

TEST(AttendanceTest, OrdersArriveAndResultsGoBack) {
  TestLearner learner;
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(learner.address(), Join(v1::EVALUATOR));
  ASSERT_TRUE(attendance->WaitForLease(Soon()).ok());
  EXPECT_FALSE(attendance->NextOrder(Now()).has_value());
  v1::Evaluate order;
  order.set_version(17);
  ASSERT_TRUE(learner.service().Evaluate(order));
  const std::optional<v1::Evaluate> received = attendance->NextOrder(Soon());
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->version(), 17);
  v1::AttendRequest report;
  report.mutable_evaluation()->set_version(17);
  report.mutable_evaluation()->set_error("the simulator fell over");
  attendance->Report(report);
  RunService::Reports reports;
  while (reports.evaluations.empty()) reports = learner.service().TakeReports();
  EXPECT_EQ(reports.evaluations[0].error(), "the simulator fell over");
}

// The learner that gave it is gone, and the next one would take the answer for that to an order of its own.
TEST(AttendanceTest, AnOrderIsForgottenWithTheStreamItCameThrough) {
  auto learner = std::make_unique<TestLearner>();
  const std::string address = learner->address();
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(address, Join(v1::EVALUATOR));
  ASSERT_TRUE(attendance->WaitForLease(Soon()).ok());
  v1::Evaluate order;
  order.set_version(1);
  ASSERT_TRUE(learner->service().Evaluate(order));
  learner = nullptr;
  learner = std::make_unique<TestLearner>("run", address);
  order.set_version(2);
  while (!learner->service().Evaluate(order)) {
  }
  EXPECT_EQ(attendance->NextOrder(Soon())->version(), 2);
}

TEST(AttendanceTest, TheEndOfTheRunEndsAllWaits) {
  TestLearner learner;
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(learner.address(), Join(v1::EVALUATOR));
  ASSERT_TRUE(attendance->WaitForLease(Soon()).ok());
  learner.service().Stop("enough");
  EXPECT_FALSE(attendance->NextOrder(Soon()).has_value());
  EXPECT_TRUE(attendance->stopped());
  EXPECT_EQ(attendance->WaitForLease(Soon()).status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(attendance->status().ok());
}

TEST(AttendanceTest, ARefusalIsFinalAndSaysWhy) {
  TestLearner learner;
  const std::unique_ptr<Attendance> fits = std::make_unique<Attendance>(learner.address(), Join(v1::ACTOR));
  ASSERT_TRUE(fits->WaitForLease(Soon()).ok());
  const std::unique_ptr<Attendance> differs =
      std::make_unique<Attendance>(learner.address(), Join(v1::ACTOR, /*shape=*/4));
  const absl::Status status = differs->WaitForLease(Soon()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("observation.shape"));
  EXPECT_EQ(differs->status(), status);
  EXPECT_FALSE(differs->NextOrder(Soon()).has_value());
}

TEST(AttendanceTest, ALearnerOfAnotherRunOnTheSamePortIsRefusedByBoth) {
  auto learner = std::make_unique<TestLearner>();
  const std::string address = learner->address();
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(address, Join(v1::EVALUATOR));
  ASSERT_TRUE(attendance->WaitForLease(Soon()).ok());
  learner = nullptr;
  learner = std::make_unique<TestLearner>("another", address);
  EXPECT_FALSE(attendance->NextOrder(Soon()).has_value());
  EXPECT_EQ(attendance->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(attendance->status().message()), HasSubstr("another"));
}

// What actors write would not fit the table that they would write it to.
TEST(AttendanceTest, ALearnerWithAnotherTableEndsThisProcess) {
  auto learner = std::make_unique<TestLearner>();
  const std::string address = learner->address();
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(address, Join(v1::EVALUATOR));
  ASSERT_TRUE(attendance->WaitForLease(Soon()).ok());
  learner = nullptr;
  learner = std::make_unique<TestLearner>("run", address, "another table");
  EXPECT_FALSE(attendance->NextOrder(Soon()).has_value());
  EXPECT_EQ(attendance->status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(AttendanceTest, ReportsThatNobodyTakesAreBounded) {
  std::string address;
  { address = TestLearner().address(); }
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(address, Join(v1::ACTOR));
  for (int i = 0; i < 1500; ++i) attendance->Report(EpisodeReport(i));
  TestLearner learner("run", address);
  const std::vector<double> returns = learner.Returns(1000);
  EXPECT_EQ(returns.size(), 1000);
  EXPECT_EQ(returns.front(), 500);  // the oldest 500 are gone
  EXPECT_EQ(attendance->dropped_episodes(), 500);
}

// The means 1 of one number and 4 of two become 3 of three; squared deviations are 0 + 0 + 3^2 * 1 * 2 / 3 = 6.
TEST(AttendanceTest, MomentsThatNobodyTakesAreMergedAndNoneIsLost) {
  std::string address;
  { address = TestLearner().address(); }
  const std::unique_ptr<Attendance> attendance = std::make_unique<Attendance>(address, Join(v1::ACTOR));
  for (const auto& [count, mean] : {std::pair{1, 1}, std::pair{2, 4}}) {
    v1::AttendRequest report;
    report.mutable_observation_moments()->set_count(count);
    report.mutable_observation_moments()->add_mean(mean);
    report.mutable_observation_moments()->add_m2(0);
    attendance->Report(report);
  }
  TestLearner learner("run", address);
  RunService::Reports reports;
  while (reports.moments.empty()) reports = learner.service().TakeReports();
  ASSERT_EQ(reports.moments.size(), 1);
  EXPECT_EQ(reports.moments[0].count(), 3);
  EXPECT_EQ(reports.moments[0].mean(0), 3);
  EXPECT_EQ(reports.moments[0].m2(0), 6);
}

}  // namespace
}  // namespace headrace
