#include "learner/inference_service.h"

#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <span>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/act_wire.h"
#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/protocol.h"
#include "gtest/gtest.h"
#include "model/weights.h"

namespace headrace {
namespace {

constexpr size_t kColumns = 2;

// a = o[0] + w, "log-probability" o[1]; what holds kPoison cannot be computed.
constexpr float kPoison = 1e9;
class AddingPolicy : public Policy {
 public:
  void Act(const at::Tensor& observations, ActMode, RandomStream&, at::Tensor& recurrent_state, at::Tensor& actions,
           at::Tensor& log_probs) override {
    const int64_t rows = observations.size(0);
    actions = at::empty({rows, 1}, at::kFloat);
    log_probs = at::empty({rows}, at::kFloat);
    const float* const o = observations.const_data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row) {
      if (o[row * kColumns] == kPoison) throw std::runtime_error("the network cannot be run");
      actions.mutable_data_ptr<float>()[row] = o[row * kColumns] + weight_.const_data_ptr<float>()[0];
      log_probs.mutable_data_ptr<float>()[row] = o[row * kColumns + 1];
      if (recurrent_state.defined()) recurrent_state[row] += o[row * kColumns];
    }
  }
  std::vector<NamedTensor> Tensors() const override { return {{"w", weight_}}; }

 private:
  at::Tensor weight_ = at::full({1}, 0, at::kFloat);
};

std::string WeightsOf(float w) { return *SaveTensors({{"w", at::full({1}, w, at::kFloat)}}, {}); }

v1::Column ObservationColumn() {
  v1::Column column;
  column.set_name("observation");
  column.set_data_type(v1::FLOAT32);
  column.add_shape(kColumns);
  return column;
}

v1::ActRequest OpenRequest(uint32_t lanes, const std::string& run_id = "run", uint32_t index = 0) {
  v1::ActRequest request;
  *request.mutable_open()->mutable_peer() = MakePeer(run_id, "actor");
  *request.mutable_open()->mutable_observation() = ObservationColumn();
  request.mutable_open()->set_lanes(lanes);
  request.mutable_open()->set_index(index);
  return request;
}

class Client {
 public:
  Client(const std::string& address, const v1::ActRequest& open)
      : channel_(MakeChannel(address)),
        stream_(ClientStream::Open(channel_, "/headrace.v1.Inference/Act",
                                   {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                                    .closed = [this](const absl::Status& status) { OnClosed(status); }})) {
    stream_->Send(ToByteBuffer(open));
  }

  void Send(const v1::ActRequest& request) { stream_->Send(ToByteBuffer(request)); }
  void Ask(uint64_t request, const std::vector<float>& observations, const std::vector<float>& recurrent_state = {}) {
    stream_->Send(
        MakeActRequest(request, std::as_bytes(std::span(observations)), std::as_bytes(std::span(recurrent_state))));
  }
  // An empty one if the stream has ended.
  v1::ActResponse Answer() {
    MutexLock lock(&mutex_);
    while (answers_.empty() && !closed_) changed_.Wait(&mutex_);
    if (answers_.empty()) return {};
    v1::ActResponse answer = answers_.front();
    answers_.pop_front();
    return answer;
  }
  absl::Status End() {
    MutexLock lock(&mutex_);
    while (!closed_) changed_.Wait(&mutex_);
    return status_;
  }

 private:
  void OnMessage(const grpc::ByteBuffer& message) {
    v1::ActResponse answer;
    ASSERT_TRUE(FromByteBuffer(message, answer).ok());
    MutexLock lock(&mutex_);
    answers_.push_back(answer);
    changed_.NotifyAll();
  }
  void OnClosed(const absl::Status& status) {
    MutexLock lock(&mutex_);
    closed_ = true;
    status_ = status;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<v1::ActResponse> answers_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<ClientStream> stream_;
};

std::vector<float> Floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

class InferenceServiceTest : public testing::Test {
 protected:
  explicit InferenceServiceTest(uint32_t deadline_microseconds = 1000) {
    v1::RunConfig config;
    config.mutable_inference()->set_max_batch(8);
    config.mutable_inference()->set_deadline_microseconds(deadline_microseconds);
    v1::LearnerIdentity identity;
    identity.set_run_id("run");
    identity.set_incarnation(1);
    service_ = std::make_unique<InferenceService>(config, identity, registry_);
    server_ = *GrpcServer::Start("127.0.0.1:0", {service_.get()});
  }
  void Open(int threads = 1, int64_t state_size = 0) {
    std::vector<std::unique_ptr<Policy>> policies;
    for (int i = 0; i < threads; ++i) policies.push_back(std::make_unique<AddingPolicy>());
    ASSERT_TRUE(service_->Open(ObservationColumn(), std::move(policies), state_size).ok());
  }
  std::unique_ptr<Client> Connect(const v1::ActRequest& open) {
    return std::make_unique<Client>(server_->address(), open);
  }
  void WaitForClients(int count) {
    const std::string line = absl::StrCat("headrace_inference_clients ", count, "\n");
    while (!absl::StrContains(registry_.Text(), line)) std::this_thread::yield();
  }
  absl::Status Refusal(const v1::ActRequest& open) { return Connect(open)->End(); }

  MetricRegistry registry_{"test"};
  std::unique_ptr<InferenceService> service_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(InferenceServiceTest, AnswersWithActionsLogProbabilitiesAndTheVersionThatChoseThem) {
  service_->Publish(7, WeightsOf(10));
  Open();
  const std::unique_ptr<Client> client = Connect(OpenRequest(2));
  client->Ask(1, {1, -1, 2, -2});
  const v1::ActResponse answer = client->Answer();
  EXPECT_EQ(answer.request(), 1u);
  EXPECT_EQ(answer.policy_version(), 7u);
  EXPECT_EQ(answer.status_code(), 0u);
  EXPECT_TRUE(answer.has_latency());
  EXPECT_EQ(Floats(answer.actions()), (std::vector<float>{11, 12}));
  EXPECT_EQ(Floats(answer.log_probs()), (std::vector<float>{-1, -2}));
}

TEST_F(InferenceServiceTest, LoadsNewerWeightsBetweenBatches) {
  service_->Publish(1, WeightsOf(10));
  Open();
  const std::unique_ptr<Client> client = Connect(OpenRequest(1));
  for (uint64_t version = 2; version <= 20; ++version) {
    service_->Publish(version, WeightsOf(static_cast<float>(10 * version)));
    client->Ask(version, {1, 0});
    const v1::ActResponse answer = client->Answer();
    EXPECT_EQ(answer.policy_version(), version);
    EXPECT_EQ(Floats(answer.actions()).at(0), static_cast<float>(10 * version + 1));
  }
}

TEST_F(InferenceServiceTest, GivesEveryClientItsOwnActions) {
  constexpr int kClients = 4;
  constexpr int kRequests = 200;
  service_->Publish(1, WeightsOf(0.5));
  Open(/*threads=*/2);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int index = 0; index < kClients; ++index) {
    threads.emplace_back([&, index] {
      const uint32_t lanes = 1 + index % 3;
      const std::unique_ptr<Client> client = Connect(OpenRequest(lanes));
      for (int request = 1; request <= kRequests; ++request) {
        const auto value = static_cast<float>(request * kClients + index);
        std::vector<float> observations;
        for (uint32_t lane = 0; lane < lanes; ++lane) observations.insert(observations.end(), {value, -value});
        client->Ask(request, observations);
        const v1::ActResponse answer = client->Answer();
        wrong += answer.request() != static_cast<uint64_t>(request);
        wrong += Floats(answer.actions()) != std::vector<float>(lanes, value + 0.5f);
        wrong += Floats(answer.log_probs()) != std::vector<float>(lanes, -value);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(InferenceServiceTest, RefusesWhatDoesNotFitByName) {
  service_->Publish(1, WeightsOf(0));
  EXPECT_TRUE(absl::IsUnavailable(Refusal(OpenRequest(1))));  // asked too early
  Open();
  EXPECT_EQ(Refusal(OpenRequest(1, "another")).message(), "actor belongs to run another, this process to run run");
  EXPECT_TRUE(absl::IsFailedPrecondition(Refusal(OpenRequest(1, "another"))));

  v1::ActRequest bytes = OpenRequest(1);
  bytes.mutable_open()->mutable_observation()->set_data_type(v1::UINT8);
  EXPECT_EQ(Refusal(bytes), absl::InvalidArgumentError("expected observations FLOAT32 [2], got UINT8 [2]"));
  v1::ActRequest shape = OpenRequest(1);
  shape.mutable_open()->mutable_observation()->add_shape(3);
  EXPECT_EQ(Refusal(shape), absl::InvalidArgumentError("expected observations FLOAT32 [2], got FLOAT32 [2, 3]"));
  for (const uint32_t lanes : {0u, 9u}) {
    EXPECT_EQ(Refusal(OpenRequest(lanes)).message(),
              absl::StrCat("expected 1 to 8 environments (inference.max_batch), got ", lanes));
  }

  const std::unique_ptr<Client> unopened = Connect(v1::ActRequest());
  EXPECT_EQ(unopened->End().message(), "expected ActOpen in a stream's first message");
  EXPECT_TRUE(absl::StrContains(registry_.Text(), "headrace_inference_refused_total 7"));
}

TEST_F(InferenceServiceTest, AClientThatSendsAWrongNumberOfBytesHarmsItselfAlone) {
  service_->Publish(1, WeightsOf(0));
  Open();
  const std::unique_ptr<Client> good = Connect(OpenRequest(1));
  const std::unique_ptr<Client> bad = Connect(OpenRequest(2));
  bad->Ask(1, {1, 2, 3, 4});
  EXPECT_EQ(bad->Answer().request(), 1u);
  bad->Ask(2, {1, 2, 3});
  EXPECT_EQ(bad->End(),
            absl::InvalidArgumentError("expected observations of 16 bytes (2 environments, FLOAT32 [2]), got 12"));
  good->Ask(1, {5, 6});
  EXPECT_EQ(Floats(good->Answer().actions()), (std::vector<float>{5}));
}

TEST_F(InferenceServiceTest, EachClientsRecurrentStateComesBackAsThePolicyLeftIt) {
  service_->Publish(1, WeightsOf(0));
  Open(/*threads=*/1, /*state_size=*/2);
  const std::unique_ptr<Client> first = Connect(OpenRequest(1)), second = Connect(OpenRequest(2));
  WaitForClients(2);
  first->Ask(1, {1, 0}, {10, 20});
  second->Ask(1, {2, 0, 3, 0}, {30, 40, 50, 60});  // in one batch with the other's, or not
  EXPECT_EQ(Floats(first->Answer().recurrent_state()), (std::vector<float>{11, 21}));
  EXPECT_EQ(Floats(second->Answer().recurrent_state()), (std::vector<float>{32, 42, 53, 63}));
  first->Ask(2, {1, 0}, {0, 0});  // an episode begins
  EXPECT_EQ(Floats(first->Answer().recurrent_state()), (std::vector<float>{1, 1}));

  second->Ask(2, {2, 0, 3, 0}, {30, 40, 50});
  EXPECT_EQ(second->End(),
            absl::InvalidArgumentError("expected recurrent state of 16 bytes (2 environments, FLOAT32 [2]), got 12"));
}

// The first answer says so; the next request waits.
TEST_F(InferenceServiceTest, AnActorThatIsHeldBackIsToldSoAndAnsweredWhenThereIsRoom) {
  service_->Publish(1, WeightsOf(10));
  Open();
  const std::unique_ptr<Client> first = Connect(OpenRequest(1, "run", 0)), second = Connect(OpenRequest(1, "run", 1));
  WaitForClients(2);
  service_->SetActors(1);
  second->Ask(1, {1, 0});
  const v1::ActResponse told = second->Answer();
  EXPECT_EQ(told.request(), 1u);
  EXPECT_EQ(told.status_code(), static_cast<uint32_t>(kHeldBack));
  EXPECT_TRUE(told.actions().empty());
  EXPECT_TRUE(absl::StrContains(registry_.Text(), "headrace_inference_held_back 1"));
  second->Ask(2, {2, 0});
  first->Ask(1, {3, 0});
  EXPECT_EQ(Floats(first->Answer().actions()), (std::vector<float>{13}));
  service_->SetActors(2);
  const v1::ActResponse answer = second->Answer();
  EXPECT_EQ(answer.request(), 2u);
  EXPECT_EQ(answer.status_code(), 0u);
  EXPECT_EQ(Floats(answer.actions()), (std::vector<float>{12}));
  EXPECT_TRUE(absl::StrContains(registry_.Text(), "headrace_inference_held_back 0"));
}

TEST_F(InferenceServiceTest, AnActorThatVanishesMakesRoomForOneThatIsHeldBack) {
  service_->Publish(1, WeightsOf(10));
  Open();
  std::unique_ptr<Client> first = Connect(OpenRequest(1, "run", 0));
  const std::unique_ptr<Client> second = Connect(OpenRequest(1, "run", 1));
  WaitForClients(2);
  service_->SetActors(1);
  second->Ask(1, {1, 0});
  EXPECT_EQ(second->Answer().status_code(), static_cast<uint32_t>(kHeldBack));
  second->Ask(2, {2, 0});
  {
    const std::unique_ptr<Client> third = Connect(OpenRequest(1, "run", 2));
    third->Ask(1, {1, 0});
    EXPECT_EQ(third->Answer().status_code(), static_cast<uint32_t>(kHeldBack));
    third->Ask(2, {2, 0});
    WaitForClients(3);
  }
  WaitForClients(2);  // it was held back, and is gone all the same
  first.reset();
  EXPECT_EQ(Floats(second->Answer().actions()), (std::vector<float>{12}));
}

TEST_F(InferenceServiceTest, WhatIsWrongIsRefusedAlsoOfAnActorThatIsHeldBack) {
  service_->Publish(1, WeightsOf(10));
  Open();
  const std::unique_ptr<Client> first = Connect(OpenRequest(1, "run", 0)), second = Connect(OpenRequest(1, "run", 1));
  WaitForClients(2);
  service_->SetActors(1);
  second->Send(OpenRequest(1));
  EXPECT_TRUE(absl::IsInvalidArgument(second->End()));
}

TEST_F(InferenceServiceTest, ShutsDownWhileActorsAreHeldBack) {
  service_->Publish(1, WeightsOf(10));
  Open();
  const std::unique_ptr<Client> first = Connect(OpenRequest(1, "run", 0)), second = Connect(OpenRequest(1, "run", 1));
  WaitForClients(2);
  service_->SetActors(1);
  second->Ask(1, {1, 0});
  second->Answer();
  second->Ask(2, {1, 0});  // and waits
  service_->Stop();
  server_.reset();
  EXPECT_FALSE(second->End().ok());
  EXPECT_FALSE(first->End().ok());
}

TEST_F(InferenceServiceTest, EveryoneIsAnsweredRightlyWhileThreadsAndActorsChange) {
  constexpr int kClients = 4;
  constexpr int kRequests = 300;
  service_->Publish(1, WeightsOf(0.5));
  Open(/*threads=*/3);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  std::atomic<int> left = kClients;
  for (uint32_t index = 0; index < kClients; ++index) {
    threads.emplace_back([&, index] {
      const std::unique_ptr<Client> client = Connect(OpenRequest(1, "run", index));
      uint64_t number = 0;
      for (int request = 0; request < kRequests; ++request) {
        const auto value = static_cast<float>(request * kClients + index);
        v1::ActResponse answer;
        do {
          client->Ask(++number, {value, -value});
          answer = client->Answer();
          wrong += answer.request() != number;
        } while (answer.status_code() == static_cast<uint32_t>(kHeldBack));
        wrong += Floats(answer.actions()) != std::vector<float>{value + 0.5f};
      }
      --left;
    });
  }
  while (left > 0) {
    for (const size_t count : {1, 3, 2}) {
      service_->SetThreads(count);
      service_->SetActors(count);
      std::this_thread::yield();
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(InferenceServiceTest, RefusesToOpenTwiceAndRequestsWithoutANumber) {
  service_->Publish(1, WeightsOf(0));
  Open();
  const std::unique_ptr<Client> twice = Connect(OpenRequest(1));
  twice->Send(OpenRequest(1));
  EXPECT_TRUE(absl::IsInvalidArgument(twice->End()));
  const std::unique_ptr<Client> zero = Connect(OpenRequest(1));
  zero->Ask(0, {1, 2});
  EXPECT_TRUE(absl::IsInvalidArgument(zero->End()));
}

TEST_F(InferenceServiceTest, ABatchThatCannotBeComputedIsAnsweredWithTheReason) {
  service_->Publish(1, WeightsOf(0));
  Open();
  const std::unique_ptr<Client> client = Connect(OpenRequest(1));
  client->Ask(1, {kPoison, 0});
  const v1::ActResponse answer = client->Answer();
  EXPECT_EQ(answer.status_code(), static_cast<uint32_t>(absl::StatusCode::kInternal));
  EXPECT_EQ(answer.status_message(), "the network cannot be run");
  EXPECT_TRUE(answer.actions().empty());
  client->Ask(2, {3, 0});
  EXPECT_EQ(Floats(client->Answer().actions()), (std::vector<float>{3}));
}

// No batch is closed by the deadline here, but only because nobody is left to wait for.
class PatientInferenceServiceTest : public InferenceServiceTest {
 protected:
  PatientInferenceServiceTest() : InferenceServiceTest(/*deadline_microseconds=*/4'000'000'000) {}
};

TEST_F(PatientInferenceServiceTest, AClientThatVanishesWithinABatchIsNotWaitedFor) {
  service_->Publish(1, WeightsOf(1));
  Open();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(Connect(OpenRequest(1)));
  WaitForClients(3);
  clients[0]->Ask(20, {1, 0});
  clients[1]->Ask(20, {2, 0});  // both wait for the third
  clients[2].reset();
  EXPECT_EQ(Floats(clients[0]->Answer().actions()), (std::vector<float>{2}));
  EXPECT_EQ(Floats(clients[1]->Answer().actions()), (std::vector<float>{3}));

  clients[0]->Ask(30, {1, 0});
  clients[0].reset();  // with a request in the batch that is open
  clients[1]->Ask(30, {4, 0});
  EXPECT_EQ(Floats(clients[1]->Answer().actions()), (std::vector<float>{5}));
}

TEST_F(PatientInferenceServiceTest, ShutsDownWhileClientsWait) {
  service_->Publish(1, WeightsOf(1));
  Open(/*threads=*/2);
  const std::unique_ptr<Client> first = Connect(OpenRequest(1));
  first->Ask(1, {1, 0});
  EXPECT_EQ(first->Answer().request(), 1u);
  const std::unique_ptr<Client> second = Connect(OpenRequest(1));
  WaitForClients(2);
  second->Ask(1, {1, 0});  // and waits for the first one's
  service_->Stop();
  server_.reset();
  EXPECT_FALSE(first->End().ok());
  EXPECT_FALSE(second->End().ok());
}

TEST_F(InferenceServiceTest, ShutsDownWithoutEverHavingHadWeights) {
  Open();
  const std::unique_ptr<Client> client = Connect(OpenRequest(1));
  client->Ask(1, {1, 0});
  server_.reset();
  service_->Stop();
  EXPECT_FALSE(client->End().ok());
}

TEST_F(InferenceServiceTest, MeasuresBatchesAndEachPartOfTheLatency) {
  service_->Publish(1, WeightsOf(1));
  Open();
  const std::unique_ptr<Client> client = Connect(OpenRequest(3));
  client->Ask(1, {1, 0, 1, 0, 1, 0});
  client->Answer();
  client->Ask(2, {1, 0, 1, 0, 1, 0});
  client->Answer();
  const std::string text = registry_.Text();
  EXPECT_TRUE(absl::StrContains(text, "headrace_inference_batch_size_sum 6"));
  EXPECT_TRUE(absl::StrContains(text, "headrace_inference_requests_total 2"));
  for (const char* const part : {"queue", "assemble", "compute"}) {
    EXPECT_TRUE(
        absl::StrContains(text, absl::StrCat("headrace_inference_latency_seconds_count{part=\"", part, "\"} 2")));
  }
}

}  // namespace
}  // namespace headrace
