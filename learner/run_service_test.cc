#include "learner/run_service.h"

#include <deque>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/mutex.h"
#include "common/protocol.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

// For waits that end by themselves unless the code is wrong.
std::chrono::steady_clock::time_point Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(30); }

v1::EnvironmentSpec Spec() {
  v1::EnvironmentSpec spec;
  spec.set_name("Pendulum-v1");
  spec.mutable_observation()->set_data_type(v1::FLOAT32);
  spec.mutable_observation()->add_shape(3);
  spec.add_action_low(-2);
  spec.add_action_high(2);
  return spec;
}

v1::AttendRequest Join(v1::Role role, const std::string& run_id = "") {
  v1::AttendRequest request;
  v1::Join& join = *request.mutable_join();
  *join.mutable_peer() = MakePeer(run_id, "actor of process 7");
  join.set_role(role);
  *join.mutable_environment() = Spec();
  join.set_environments(4);
  join.set_process_id(7);
  join.set_host("here");
  return request;
}

v1::AttendRequest JoinAgain(v1::Role role, uint32_t previous_index) {
  v1::AttendRequest request = Join(role);
  request.mutable_join()->set_previous_index(previous_index);
  return request;
}

v1::Evaluate Order(uint64_t version) {
  v1::Evaluate order;
  order.set_version(version);
  return order;
}

v1::AttendRequest Result(uint64_t version, double value) {
  v1::AttendRequest request;
  request.mutable_evaluation()->set_version(version);
  request.mutable_evaluation()->add_returns(value);
  request.mutable_evaluation()->add_lengths(200);
  return request;
}

// A member as the service sees it: a stream.
class Peer {
 public:
  Peer(const std::string& address, const grpc::ByteBuffer& first)
      : stream_(ClientStream::Open(MakeChannel(address), "/headrace.v1.Run/Attend",
                                   {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                                    .closed = [this](const absl::Status& status) { OnClosed(status); }})) {
    stream_->Send(first);
  }
  Peer(const std::string& address, const v1::AttendRequest& join) : Peer(address, ToByteBuffer(join)) {}

  void Send(const v1::AttendRequest& request) { stream_->Send(ToByteBuffer(request)); }

  // The next order; an empty one if the stream ended before it.
  v1::RunOrder Next() {
    MutexLock lock(&mutex_);
    while (orders_.empty() && !closed_) {
      if (!changed_.WaitUntil(&mutex_, Soon())) break;
    }
    if (orders_.empty()) return {};
    v1::RunOrder order = orders_.front();
    orders_.pop_front();
    return order;
  }

  absl::Status End() {
    MutexLock lock(&mutex_);
    while (!closed_) {
      if (!changed_.WaitUntil(&mutex_, Soon())) return absl::DeadlineExceededError("the stream goes on");
    }
    return status_;
  }

 private:
  void OnMessage(const grpc::ByteBuffer& message) {
    MutexLock lock(&mutex_);
    EXPECT_TRUE(FromByteBuffer(message, orders_.emplace_back()).ok());
    changed_.NotifyAll();
  }
  void OnClosed(const absl::Status& status) {
    MutexLock lock(&mutex_);
    status_ = status;
    closed_ = true;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<v1::RunOrder> orders_;
  absl::Status status_;
  bool closed_ = false;
  std::unique_ptr<ClientStream> stream_;
};

class RunServiceTest : public testing::Test {
 protected:
  RunServiceTest() : server_(*GrpcServer::Start("127.0.0.1:0", {&service_})) {}

  std::unique_ptr<Peer> Attend(const v1::AttendRequest& join) {
    return std::make_unique<Peer>(server_->address(), join);
  }
  // A member that has its lease.
  std::unique_ptr<Peer> Member(const v1::AttendRequest& join, uint32_t index) {
    std::unique_ptr<Peer> peer = Attend(join);
    const v1::RunOrder order = peer->Next();
    EXPECT_TRUE(order.has_lease()) << peer->End();
    EXPECT_EQ(order.lease().index(), index);
    return peer;
  }
  void Open(uint64_t random_steps = 0) {
    v1::Lease lease;
    lease.set_run_id("run");
    lease.mutable_table()->set_name("experience");
    service_.Open(lease, [random_steps](uint64_t actors) { return random_steps + actors; });
  }
  absl::Status Refusal(const v1::AttendRequest& join) { return Attend(join)->End(); }
  v1::RunStatus Status() {
    v1::RunStatus status;
    grpc::ClientContext context;
    EXPECT_TRUE(v1::Run::NewStub(MakeChannel(server_->address()))->Status(&context, {}, &status).ok());
    return status;
  }

  static absl::Status CheckEnvironment(const v1::EnvironmentSpec& environment) {
    return environment.discrete_actions() == 0 ? absl::OkStatus()
                                               : absl::InvalidArgumentError("sac takes continuous actions");
  }

  RunService service_{"run", 1, CheckEnvironment};
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(RunServiceTest, TheFirstMemberBringsTheEnvironmentAndLeasesFollowOnceTheyAreOpen) {
  EXPECT_EQ(service_.WaitForEnvironment(std::chrono::steady_clock::now()).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  const std::unique_ptr<Peer> actor = Attend(Join(v1::ACTOR));
  const absl::StatusOr<v1::EnvironmentSpec> environment = service_.WaitForEnvironment(Soon());
  ASSERT_TRUE(environment.ok()) << environment.status();
  EXPECT_EQ(environment->name(), "Pendulum-v1");
  EXPECT_EQ(service_.actors(), 0);
  Open(250);
  const v1::RunOrder order = actor->Next();
  EXPECT_EQ(order.lease().run_id(), "run");
  EXPECT_EQ(order.lease().index(), 0);
  EXPECT_EQ(order.lease().random_steps(), 251);
  EXPECT_EQ(order.lease().table().name(), "experience");
  EXPECT_EQ(service_.actors(), 1);
}

TEST_F(RunServiceTest, ActorsAndEvaluatorsAreNumberedApart) {
  Open(100);
  const std::unique_ptr<Peer> first = Member(Join(v1::ACTOR), 0);
  const std::unique_ptr<Peer> second = Member(Join(v1::ACTOR), 1);
  const std::unique_ptr<Peer> evaluator = Attend(Join(v1::EVALUATOR));
  const v1::RunOrder order = evaluator->Next();
  EXPECT_EQ(order.lease().index(), 0);
  EXPECT_EQ(order.lease().random_steps(), 0);
  EXPECT_EQ(service_.actors(), 2);
}

TEST_F(RunServiceTest, AnIndexIsGivenBackWithTheStream) {
  Open();
  std::unique_ptr<Peer> first = Member(Join(v1::ACTOR), 0);
  const std::unique_ptr<Peer> second = Member(Join(v1::ACTOR), 1);
  first.reset();
  while (Status().members_size() > 1) {
  }
  const std::unique_ptr<Peer> third = Member(Join(v1::ACTOR), 0);
}

TEST_F(RunServiceTest, AMemberThatReturnsGetsItsIndexUnlessSomebodyElseHasIt) {
  Open();
  const std::unique_ptr<Peer> returned = Member(JoinAgain(v1::ACTOR, 3), 3);
  const std::unique_ptr<Peer> late = Member(JoinAgain(v1::ACTOR, 3), 0);
  // Nobody ever had this one, and lanes of so many actors could not be numbered.
  const std::unique_ptr<Peer> liar = Member(JoinAgain(v1::ACTOR, UINT32_MAX), 1);
  const std::unique_ptr<Peer> next = Member(Join(v1::ACTOR), 2);
}

// An actor that is cut off acts on under its first lease, whatever it is given when it returns. Whoever is given its
// index meanwhile, here or by a learner that was started again, must not draw the same random numbers.
TEST_F(RunServiceTest, NoLeaseIsGivenTwice) {
  std::set<std::pair<uint32_t, uint64_t>> granted;
  int joined = 0;
  for (const uint32_t incarnation : {1, 2}) {
    RunService service("run", incarnation, CheckEnvironment);
    const std::unique_ptr<GrpcServer> server = *GrpcServer::Start("127.0.0.1:0", {&service});
    service.Open({}, [](uint64_t) { return 0; });
    const auto join = [&](const v1::AttendRequest& request) {
      auto peer = std::make_unique<Peer>(server->address(), request);
      const v1::Lease lease = peer->Next().lease();
      granted.emplace(lease.index(), lease.generation());
      ++joined;
      return peer;
    };
    std::unique_ptr<Peer> first = join(JoinAgain(v1::ACTOR, 0));
    const std::unique_ptr<Peer> second = join(Join(v1::ACTOR));
    first.reset();
    while (service.actors() > 1) {
    }
    const std::unique_ptr<Peer> heir = join(Join(v1::ACTOR));
    const std::unique_ptr<Peer> returned = join(JoinAgain(v1::ACTOR, 0));
  }
  EXPECT_EQ(granted.size(), joined);
}

// A run that is repeated from its start with the same seed has the same streams.
TEST_F(RunServiceTest, TheFirstLeaseOfAnIndexIsTheSameInEachFreshRun) {
  Open();
  const std::unique_ptr<Peer> evaluator = Member(Join(v1::EVALUATOR), 0);
  for (const uint32_t index : {1, 0}) {
    std::unique_ptr<Peer> actor = Attend(JoinAgain(v1::ACTOR, index));
    const v1::Lease lease = actor->Next().lease();
    EXPECT_EQ(lease.index(), index);
    EXPECT_EQ(lease.generation(), uint64_t{1} << 32);
    actor.reset();
    while (service_.actors() > 0) {
    }
  }
}

TEST_F(RunServiceTest, AnotherEnvironmentIsRefusedWithWhatDiffers) {
  Open();
  const std::unique_ptr<Peer> first = Member(Join(v1::ACTOR), 0);
  v1::AttendRequest other = Join(v1::EVALUATOR);
  other.mutable_join()->mutable_environment()->mutable_observation()->set_shape(0, 4);
  const absl::Status status = Refusal(other);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("observation.shape[0]: 3 -> 4"));
  EXPECT_EQ(Status().members_size(), 1);
}

TEST_F(RunServiceTest, AnEnvironmentThatDoesNotSuitTheRunIsRefusedAndNotRemembered) {
  v1::AttendRequest unsuitable = Join(v1::ACTOR);
  unsuitable.mutable_join()->mutable_environment()->set_discrete_actions(2);
  EXPECT_EQ(Refusal(unsuitable), absl::InvalidArgumentError("sac takes continuous actions"));
  Open();
  const std::unique_ptr<Peer> suitable = Member(Join(v1::ACTOR), 0);
}

TEST_F(RunServiceTest, WhatIsNoJoinIsRefused) {
  Open();
  EXPECT_EQ(Refusal(Join(v1::ROLE_UNSPECIFIED)).code(), absl::StatusCode::kInvalidArgument);
  v1::AttendRequest wordy = Join(v1::ACTOR);
  wordy.mutable_join()->set_host(std::string(2000, 'x'));
  EXPECT_EQ(Refusal(wordy),
            absl::InvalidArgumentError("expected names of host and peer of up to 1024 bytes, got 2000 and 18"));
  EXPECT_EQ(Refusal(Result(1, 1)).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status another_run = Refusal(Join(v1::ACTOR, "another"));
  EXPECT_EQ(another_run.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(another_run.message()), HasSubstr("belongs to run another"));
  v1::AttendRequest another_protocol = Join(v1::ACTOR);
  another_protocol.mutable_join()->mutable_peer()->set_protocol_version(99);
  EXPECT_EQ(Refusal(another_protocol).code(), absl::StatusCode::kFailedPrecondition);
  const grpc::Slice garbage("\xff\xff\xff garbage");
  Peer vandal(server_->address(), grpc::ByteBuffer(&garbage, 1));
  EXPECT_EQ(vandal.End().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Status().members_size(), 0);
}

TEST_F(RunServiceTest, EpisodesAndMomentsAreHandedOverOnce) {
  Open();
  const std::unique_ptr<Peer> actor = Member(Join(v1::ACTOR), 0);
  v1::AttendRequest report;
  report.add_episodes()->set_episode_return(-3);
  report.add_episodes()->set_episode_return(-4);
  report.mutable_observation_moments()->set_count(5);
  actor->Send(report);
  RunService::Reports reports;
  while (reports.episodes.empty()) reports = service_.TakeReports();
  ASSERT_EQ(reports.episodes.size(), 2);
  EXPECT_EQ(reports.episodes[1].episode_return(), -4);
  ASSERT_EQ(reports.moments.size(), 1);
  EXPECT_EQ(reports.moments[0].count(), 5);
  EXPECT_TRUE(service_.TakeReports().episodes.empty());
}

TEST_F(RunServiceTest, ReportsThatAreNotFiniteEndTheStreamAndAreNotTaken) {
  Open();
  const std::unique_ptr<Peer> actor = Member(Join(v1::ACTOR), 0);
  v1::AttendRequest report;
  report.add_episodes()->set_episode_return(std::numeric_limits<double>::quiet_NaN());
  actor->Send(report);
  EXPECT_EQ(actor->End().code(), absl::StatusCode::kInvalidArgument);
  const std::unique_ptr<Peer> evaluator = Member(Join(v1::EVALUATOR), 0);
  v1::AttendRequest lengths_missing = Result(1, 2);
  lengths_missing.mutable_evaluation()->add_returns(3);
  evaluator->Send(lengths_missing);
  EXPECT_THAT(std::string(evaluator->End().message()), HasSubstr("2 returns but 1 lengths"));
  EXPECT_TRUE(service_.TakeReports().episodes.empty());
}

// The learner takes them between updates; until then a member that says too much is told to come again.
TEST_F(RunServiceTest, ReportsThatTakeTooMuchMemoryAreRefusedUntilTheyAreTaken) {
  Open();
  const std::unique_ptr<Peer> talkative = Member(Join(v1::ACTOR), 0);
  v1::AttendRequest report;
  report.add_episodes()->set_cause(std::string(50 << 20, 'x'));
  for (int i = 0; i < 6; ++i) talkative->Send(report);  // 300 MiB of 256
  EXPECT_EQ(talkative->End().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(service_.TakeReports().episodes.size(), AllOf(Ge(2), Le(5)));  // a string may take more than its bytes
  const std::unique_ptr<Peer> actor = Member(Join(v1::ACTOR), 0);
  actor->Send(report);
  size_t taken = 0;
  while (taken == 0) taken = service_.TakeReports().episodes.size();
  EXPECT_EQ(taken, 1);
}

TEST_F(RunServiceTest, OnlyAnIdleEvaluatorIsAskedToEvaluate) {
  EXPECT_FALSE(service_.Evaluate(Order(1)));
  Open();
  const std::unique_ptr<Peer> actor = Member(Join(v1::ACTOR), 0);
  EXPECT_FALSE(service_.HasEvaluator());
  EXPECT_FALSE(service_.Evaluate(Order(1)));
  const std::unique_ptr<Peer> evaluator = Member(Join(v1::EVALUATOR), 0);
  EXPECT_TRUE(service_.HasEvaluator());
  EXPECT_TRUE(service_.Evaluate(Order(1)));
  EXPECT_EQ(evaluator->Next().evaluate().version(), 1);
  EXPECT_TRUE(service_.Evaluating());
  EXPECT_FALSE(service_.Evaluate(Order(2)));
  evaluator->Send(Result(1, -150));
  while (service_.Evaluating()) {
  }
  EXPECT_EQ(service_.TakeReports().evaluations.at(0).returns(0), -150);
  EXPECT_TRUE(service_.Evaluate(Order(2)));
  EXPECT_EQ(evaluator->Next().evaluate().version(), 2);
}

TEST_F(RunServiceTest, AnEvaluatorThatVanishesNoLongerEvaluates) {
  Open();
  std::unique_ptr<Peer> evaluator = Member(Join(v1::EVALUATOR), 0);
  ASSERT_TRUE(service_.Evaluate(Order(1)));
  evaluator.reset();
  while (service_.Evaluating()) {
  }
  EXPECT_FALSE(service_.HasEvaluator());
  EXPECT_TRUE(service_.TakeReports().evaluations.empty());
}

// The result was ordered through an earlier stream, which was lost. It used to end the evaluation of version 2.
TEST_F(RunServiceTest, AStaleResultDoesNotCountAsTheAnswer) {
  Open();
  const std::unique_ptr<Peer> evaluator = Member(Join(v1::EVALUATOR), 0);
  ASSERT_TRUE(service_.Evaluate(Order(2)));
  evaluator->Send(Result(1, -1));
  v1::AttendRequest mark;
  mark.add_episodes();
  evaluator->Send(mark);
  RunService::Reports reports;
  while (reports.episodes.empty()) reports = service_.TakeReports();
  EXPECT_TRUE(reports.evaluations.empty());
  EXPECT_TRUE(service_.Evaluating());
}

TEST_F(RunServiceTest, TheEndReachesThoseWhoAreThereAndThoseWhoComeLater) {
  Open();
  std::unique_ptr<Peer> actor = Member(Join(v1::ACTOR), 0);
  service_.Stop("100 environment steps are done");
  EXPECT_EQ(actor->Next().stop(), "100 environment steps are done");
  EXPECT_FALSE(service_.WaitUntilEmpty(std::chrono::steady_clock::now()));
  std::unique_ptr<Peer> late = Attend(Join(v1::EVALUATOR));
  EXPECT_EQ(late->Next().stop(), "100 environment steps are done");
  actor.reset();
  late.reset();
  EXPECT_TRUE(service_.WaitUntilEmpty(Soon()));
}

TEST_F(RunServiceTest, StatusSaysHowTheRunGoesAndWhoTakesPart) {
  v1::RunStatus status;
  status.set_env_steps(1000);
  status.set_waiting_for("actors");
  service_.SetStatus(status);
  const std::unique_ptr<Peer> waiting = Attend(Join(v1::ACTOR));
  ASSERT_TRUE(service_.WaitForEnvironment(Soon()).ok());
  status = Status();
  EXPECT_EQ(status.run_id(), "run");
  EXPECT_EQ(status.env_steps(), 1000);
  EXPECT_EQ(status.waiting_for(), "actors");
  while (status.members_size() < 1) status = Status();
  EXPECT_EQ(status.members(0).role(), v1::ACTOR);
  EXPECT_EQ(status.members(0).index(), UINT32_MAX);  // no lease yet
  EXPECT_EQ(status.members(0).process_id(), 7);
  EXPECT_EQ(status.members(0).host(), "here");
  EXPECT_THAT(status.members(0).address(), HasSubstr("127.0.0.1"));
}

TEST_F(RunServiceTest, MembersAreToldWhenTheServerEnds) {
  Open();
  const std::unique_ptr<Peer> actor = Member(Join(v1::ACTOR), 0);
  server_.reset();
  EXPECT_FALSE(actor->End().ok());
  EXPECT_TRUE(service_.WaitUntilEmpty(std::chrono::steady_clock::now()));
}

}  // namespace
}  // namespace headrace
