#include "actor/parameter_subscriber.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "actor/fetch_weights.h"
#include "common/grpc_server.h"
#include "common/policy_version.h"
#include "common/protocol.h"
#include "common/server_stream.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"
#include "learner/parameter_service.h"
#include "learner/weights_frames.h"
#include "proto/parameter.grpc.pb.h"

namespace headrace {
namespace {

using Clock = ParameterSubscriber::Clock;

constexpr Clock::time_point kNever = Clock::time_point::max();

// Far enough never to pass in a test that works, and to name what is missing in one that does not.
Clock::time_point Soon() { return Clock::now() + std::chrono::seconds(60); }

constexpr uint64_t V(uint32_t incarnation, uint64_t update) { return PackPolicyVersion(incarnation, update); }

struct Learner {
  explicit Learner(const std::string& listen = "127.0.0.1:0", const std::string& run_id = "run")
      : service(run_id), server(*GrpcServer::Start(listen, {&service})) {}

  ParameterService service;
  std::unique_ptr<GrpcServer> server;
};

std::unique_ptr<ParameterSubscriber> Subscribe(const std::string& address, const std::string& run_id = "run") {
  return std::make_unique<ParameterSubscriber>(address, MakePeer(run_id, "actor 3"));
}

TEST(ParameterSubscriberTest, ReceivesWeightsOfManyFramesAsTheyWerePublished) {
  Learner learner;
  std::string file(5 * kWeightsFrameBytes + 3, '\0');
  for (size_t i = 0; i < file.size(); ++i) file[i] = static_cast<char>(i * 2654435761u >> 24);
  learner.service.Publish(V(1, 7), 700, file);
  const auto subscriber = Subscribe(learner.server->address());
  const auto weights = subscriber->WaitFor(1, Soon());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ((*weights)->version, V(1, 7));
  EXPECT_EQ((*weights)->env_steps, 700);
  EXPECT_EQ((*weights)->run_id, "run");
  EXPECT_TRUE((*weights)->safetensors == file);
  EXPECT_EQ(subscriber->newest_version(), V(1, 7));
  EXPECT_EQ(subscriber->Newest(), *weights);
  EXPECT_TRUE(subscriber->status().ok());
}

TEST(ParameterSubscriberTest, FollowsTheLearner) {
  Learner learner;
  const auto subscriber = Subscribe(learner.server->address());
  for (uint64_t update = 1; update <= 50; ++update) {
    learner.service.Publish(V(1, update), update, "weights " + std::to_string(update));
    const auto weights = subscriber->WaitFor(V(1, update), Soon());
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ((*weights)->safetensors, "weights " + std::to_string(update));
  }
}

TEST(ParameterSubscriberTest, EverybodyReachesTheNewestVersionOfALearnerInAHurry) {
  Learner learner;
  std::vector<std::unique_ptr<ParameterSubscriber>> subscribers;
  for (int i = 0; i < 8; ++i) subscribers.push_back(Subscribe(learner.server->address()));
  for (uint64_t update = 1; update <= 200; ++update) {
    learner.service.Publish(V(1, update), update, std::string(10'000 + update, 'w'));
  }
  for (const auto& subscriber : subscribers) {
    const auto weights = subscriber->WaitFor(V(1, 200), Soon());
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ((*weights)->safetensors.size(), 10'200);
  }
  EXPECT_EQ(learner.service.subscribers(), 8);
}

TEST(ParameterSubscriberTest, SubscribesAgainWhenTheLearnerReturns) {
  auto learner = std::make_unique<Learner>();
  const std::string address = learner->server->address();
  learner->service.Publish(V(1, 100), 1000, "first life");
  const auto subscriber = Subscribe(address);
  ASSERT_TRUE(subscriber->WaitFor(V(1, 100), Soon()).ok());
  EXPECT_EQ(subscriber->reconnects(), 0);
  learner.reset();
  EXPECT_EQ(subscriber->Newest()->safetensors, "first life");

  // It resumes from a checkpoint: fewer updates, but a newer incarnation.
  learner = std::make_unique<Learner>(address);
  learner->service.Publish(V(2, 40), 400, "second life");
  const auto weights = subscriber->WaitFor(V(1, 101), Soon());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ((*weights)->safetensors, "second life");
  EXPECT_EQ(subscriber->reconnects(), 1);
}

TEST(ParameterSubscriberTest, IsRefusedByAnotherRun) {
  Learner learner;
  const auto subscriber = Subscribe(learner.server->address(), "other");
  const absl::Status status = subscriber->WaitFor(1, kNever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "actor 3 belongs to run other, this process to run run");
  EXPECT_EQ(subscriber->status(), status);
}

TEST(ParameterSubscriberTest, IsRefusedForAnotherProtocol) {
  Learner learner;
  v1::Peer peer = MakePeer("run", "actor 3");
  peer.set_protocol_version(kProtocolVersion + 1);
  const auto subscriber = std::make_unique<ParameterSubscriber>(learner.server->address(), peer);
  const absl::Status status = subscriber->WaitFor(1, kNever).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), "protocol version"));
}

TEST(ParameterSubscriberTest, SaysWhatItWaitedFor) {
  Learner learner;
  learner.service.Publish(V(1, 5), 50, "weights");
  const auto subscriber = Subscribe(learner.server->address());
  ASSERT_TRUE(subscriber->WaitFor(V(1, 5), Soon()).ok());
  const absl::Status status = subscriber->WaitFor(V(1, 6), Clock::now()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "no weights of version 1:6 or newer from " + learner.server->address() +
                                  ": the newest is 1:5; the learner has not sent any newer");
}

TEST(ParameterSubscriberTest, CancelWakesWhoWaits) {
  Learner learner;
  const auto subscriber = Subscribe(learner.server->address());
  auto waiting = std::async(std::launch::async, [&] { return subscriber->WaitFor(V(1, 1), kNever); });
  subscriber->Cancel();
  const absl::Status status = waiting.get().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(absl::StrContains(status.message(), "version 1:1 or newer from " + learner.server->address()));
}

// Sends the given frames to its streams: to the n-th one the n-th list, one element at the start and one more for each
// confirmation.
class ScriptedLearner final : public v1::Parameters::WithRawCallbackMethod_Subscribe<v1::Parameters::Service> {
 public:
  using Script = std::vector<std::vector<grpc::ByteBuffer>>;
  explicit ScriptedLearner(std::vector<Script> scripts) : scripts_(std::move(scripts)) {}

  std::future<void> script_done() { return script_done_.get_future(); }

 private:
  class Stream final : public ServerStream {
   public:
    Stream(ScriptedLearner* learner, const Script& script) : learner_(learner), script_(script) {}

   private:
    void OnMessage(const grpc::ByteBuffer&) override {
      if (next_ == script_.size()) {
        learner_->script_done_.set_value();
        return;
      }
      for (const grpc::ByteBuffer& frame : script_[next_]) Send(frame);
      ++next_;
      ReadNext();
    }

    ScriptedLearner* const learner_;
    const Script script_;
    size_t next_ = 0;
  };

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Subscribe(
      grpc::CallbackServerContext* context) override {
    const size_t n = streams_++;
    return ServerStream::Start(context, std::make_shared<Stream>(this, n < scripts_.size() ? scripts_[n] : Script()));
  }

  const std::vector<Script> scripts_;
  std::atomic<size_t> streams_ = 0;
  std::promise<void> script_done_;
};

std::vector<grpc::ByteBuffer> Frames(uint64_t version) {
  v1::WeightsHeader header;
  header.set_version(version);
  header.set_run_id("run");
  return FrameWeights(header, std::string("weights"));
}

TEST(ParameterSubscriberTest, NeverReplacesWeightsByOlderOnes) {
  ScriptedLearner learner({{Frames(V(2, 10)), Frames(V(1, 99))}});
  std::future<void> both_confirmed = learner.script_done();
  const auto server = *GrpcServer::Start("127.0.0.1:0", {&learner});
  const auto subscriber = Subscribe(server->address());
  both_confirmed.wait();
  EXPECT_EQ(subscriber->Newest()->version, V(2, 10));
  EXPECT_EQ(subscriber->newest_version(), V(2, 10));
}

TEST(ParameterSubscriberTest, SubscribesAgainAfterGarbage) {
  const grpc::Slice bytes("\xff\xff\xff garbage");
  const std::vector<grpc::ByteBuffer> garbage = {grpc::ByteBuffer(&bytes, 1)};
  ScriptedLearner learner({{garbage}, {Frames(V(1, 1)), garbage}, {Frames(V(1, 2))}});
  const auto server = *GrpcServer::Start("127.0.0.1:0", {&learner});
  const auto subscriber = Subscribe(server->address());
  const auto weights = subscriber->WaitFor(V(1, 2), Soon());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ((*weights)->safetensors, "weights");
  EXPECT_EQ(subscriber->reconnects(), 1);  // the first attempt delivered nothing, and was not lost
}

TEST(FetchWeightsTest, FetchesAHeldVersionUntilItIsReleased) {
  Learner learner;
  const v1::Peer peer = MakePeer("run", "evaluator 0");
  const std::string& address = learner.server->address();
  learner.service.Publish(V(1, 1), 100, std::string(2 * kWeightsFrameBytes, 'a'));
  ASSERT_TRUE(learner.service.Hold(V(1, 1)).has_value());
  learner.service.Publish(V(1, 2), 200, "two");

  const auto weights = FetchWeights(address, peer, V(1, 1), Soon());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ((*weights)->version, V(1, 1));
  EXPECT_TRUE((*weights)->safetensors == std::string(2 * kWeightsFrameBytes, 'a'));

  learner.service.Release(V(1, 1));
  EXPECT_EQ(FetchWeights(address, peer, V(1, 1), Soon()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(learner.service.subscribers(), 0);
}

TEST(FetchWeightsTest, SaysWhatFailed) {
  const v1::Peer peer = MakePeer("run", "evaluator 0");
  std::string address;
  {
    Learner learner;
    address = learner.server->address();
    EXPECT_EQ(FetchWeights(address, MakePeer("other", "evaluator 0"), V(1, 1), Soon()).status().code(),
              absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(FetchWeights(address, peer, 0, Soon()).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(FetchWeights(address, peer, V(1, 1), Soon()).status().code(), absl::StatusCode::kUnavailable);

  ScriptedLearner wrong({{Frames(V(1, 3))}, {}});
  const auto server = *GrpcServer::Start("127.0.0.1:0", {&wrong});
  EXPECT_EQ(FetchWeights(server->address(), peer, V(1, 1), Soon()).status().message(),
            "asked for weights of version 1:1, got version 1:3");
  const absl::Status late = FetchWeights(server->address(), peer, V(1, 1), Clock::now()).status();
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(late.message(), "weights of version 1:1 have not arrived in time");
}

}  // namespace
}  // namespace headrace
