// ServerStream and ClientStream against each other, over loopback.
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/mutex.h"
#include "common/server_stream.h"
#include "gmock/gmock.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return text;
}

grpc::ByteBuffer FromString(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

// What streams tell each other and the test.
struct Record {
  std::atomic<int> alive = 0;
  std::atomic<int> closed = 0;
};

// Sends every message back; "burst" a thousand times, "close" and "refuse" end the stream, "stall" reads no more.
class EchoStream final : public ServerStream {
 public:
  explicit EchoStream(Record* record) : record_(record) { ++record_->alive; }
  ~EchoStream() override { --record_->alive; }

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    const std::string text = ToString(message);
    if (text == "stall") return;
    if (text == "refuse") return Close(absl::InvalidArgumentError("expected an echo"));
    for (int i = 0; i < (text == "burst" || text == "close" ? 1000 : 1); ++i) Send(message);
    if (text == "close") return Close(absl::OkStatus());
    ReadNext();
  }
  void OnClosed() override { ++record_->closed; }

  Record* const record_;
};

class EchoService final : public v1::Replay::WithRawCallbackMethod_Insert<v1::Replay::Service> {
 public:
  explicit EchoService(Record* record) : record_(record) {}
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Insert(grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, std::make_shared<EchoStream>(record_));
  }

 private:
  Record* const record_;
};

// A client's stream that collects what it gets.
class Client {
 public:
  explicit Client(const std::string& address)
      : stream_(ClientStream::Open(MakeChannel(address), "/headrace.v1.Replay/Insert",
                                   {.message = [this](const grpc::ByteBuffer& message) { OnMessage(message); },
                                    .closed = [this](const absl::Status& status) { OnClosed(status); }})) {}

  ClientStream& stream() { return *stream_; }
  void Send(const std::string& text) { stream_->Send(FromString(text)); }
  // All messages, once there are so many, or the stream has ended.
  std::vector<std::string> Messages(size_t count) {
    MutexLock lock(&mutex_);
    while (messages_.size() < count && closed_ == 0) changed_.Wait(&mutex_);
    return messages_;
  }
  absl::Status Closed() {
    MutexLock lock(&mutex_);
    while (closed_ == 0) changed_.Wait(&mutex_);
    EXPECT_EQ(closed_, 1);
    return status_;
  }

 private:
  void OnMessage(const grpc::ByteBuffer& message) {
    MutexLock lock(&mutex_);
    EXPECT_EQ(closed_, 0) << "a message after the end";
    messages_.push_back(ToString(message));
    changed_.NotifyAll();
  }
  void OnClosed(const absl::Status& status) {
    MutexLock lock(&mutex_);
    ++closed_;
    status_ = status;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  std::vector<std::string> messages_ ABSL_GUARDED_BY(mutex_);
  int closed_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  const std::unique_ptr<ClientStream> stream_;
};

class StreamTest : public testing::Test {
 protected:
  StreamTest() {
    absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start("127.0.0.1:0", {&service_});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  ~StreamTest() override {
    server_.reset();
    EXPECT_EQ(record_.alive, 0) << "streams outlive their calls";
  }

  Record record_;
  EchoService service_{&record_};
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(StreamTest, MessagesArriveOnceAndInOrderBothWays) {
  constexpr int kMessages = 20000;
  Client client(server_->address());
  for (int i = 0; i < kMessages; ++i) client.Send(std::to_string(i));
  const std::vector<std::string> messages = client.Messages(kMessages);
  ASSERT_EQ(messages.size(), static_cast<size_t>(kMessages));
  for (int i = 0; i < kMessages; ++i) ASSERT_EQ(messages[i], std::to_string(i));
}

TEST_F(StreamTest, LargeMessagesPass) {
  Client client(server_->address());
  const std::string large(20 << 20, 'x');
  client.Send(large);
  EXPECT_TRUE(client.Messages(1)[0] == large);
}

TEST_F(StreamTest, SeveralThreadsMaySend) {
  Client client(server_->address());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) client.Send(std::to_string(4 * i + t));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> messages = client.Messages(4000);
  EXPECT_EQ(std::set<std::string>(messages.begin(), messages.end()).size(), 4000u);
}

TEST_F(StreamTest, WhatWasSentBeforeAnOrderlyEndArrives) {
  Client client(server_->address());
  client.Send("close");
  EXPECT_TRUE(client.Closed().ok());
  EXPECT_EQ(client.Messages(1000).size(), 1000u);
}

TEST_F(StreamTest, WhatAClientSentBeforeItFinishedArrivesAndIsAnswered) {
  Client client(server_->address());
  for (int i = 0; i < 1000; ++i) client.Send(std::to_string(i));
  client.stream().FinishSending();
  client.Send("dropped");
  EXPECT_TRUE(client.Closed().ok());
  EXPECT_EQ(client.Messages(1000).size(), 1000u);
}

TEST_F(StreamTest, ARefusalSaysWhy) {
  Client client(server_->address());
  client.Send("burst");
  client.Send("refuse");
  const absl::Status status = client.Closed();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("expected an echo"));
  client.Send("dropped without harm");
}

TEST_F(StreamTest, TheClientCanCancelAndTheServerNotices) {
  for (int i = 0; i < 20; ++i) {
    Client client(server_->address());
    for (int k = 0; k < 100; ++k) client.Send("burst");
    if (i % 2 == 0) client.Messages(1 + i);
    client.stream().Cancel();
    EXPECT_TRUE(absl::IsCancelled(client.Closed()));
  }
  server_.reset();  // returns when all calls have ended
  EXPECT_EQ(record_.alive, 0);
  EXPECT_GE(record_.closed, 10);  // the others were cancelled before they had begun
}

TEST_F(StreamTest, AStreamCanBeDestroyedAtAnyTime) {
  for (int i = 0; i < 50; ++i) {
    Client client(server_->address());
    for (int k = 0; k < i; ++k) client.Send(k % 7 == 3 ? "burst" : std::string(1000 * i, 'x'));
  }
}

TEST_F(StreamTest, TheServerCanGoAtAnyTime) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Client>(server_->address()));
    // One that is idle, one that waits for the service to read, the others busy.
    if (i == 1) clients.back()->Send("stall");
    for (int k = 0; k < 1000 && i > 1; ++k) clients.back()->Send("message");
  }
  clients[2]->Messages(1);
  server_.reset();
  for (const auto& client : clients) EXPECT_FALSE(client->Closed().ok());
}

TEST_F(StreamTest, WithoutAServerTheStreamCloses) {
  const std::string address = server_->address();
  server_.reset();
  Client client(address);
  client.Send("nobody hears");
  EXPECT_TRUE(absl::IsUnavailable(client.Closed()));
}

TEST(GrpcServerTest, RefusesAddressesThatCannotBeBound) {
  EXPECT_TRUE(absl::IsInvalidArgument(GrpcServer::Start("no port", {}).status()));
  Record record;
  EchoService service(&record);
  const auto first = GrpcServer::Start("127.0.0.1:0", {&service});
  ASSERT_TRUE(first.ok());
  EchoService second_service(&record);
  const absl::Status status = GrpcServer::Start((*first)->address(), {&second_service}).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(status.message(), HasSubstr((*first)->address()));
}

}  // namespace
}  // namespace headrace
