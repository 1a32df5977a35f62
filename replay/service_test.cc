// A shard's service against peers that misbehave.
#include "replay/service.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>

#include "absl/strings/numbers.h"
#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/file.h"
#include "common/protocol.h"
#include "common/random.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "proto/replay.grpc.pb.h"
#include "replay/service_testing.h"
#include "replay/testing.h"
#include "replay/wire.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

class ServiceTest : public testing::Test {
 protected:
  ServiceTest() : channel_(MakeChannel(shard_.address())), stub_(v1::Replay::NewStub(channel_)) {
    EXPECT_TRUE(shard_.shard().CreateTable(MakePeer("run", "learner"), TestSpec()).ok());
  }

  // What a stream ends with after these messages.
  absl::Status Converse(const std::string& method, const std::vector<grpc::ByteBuffer>& messages) {
    std::promise<absl::Status> closed;
    const std::unique_ptr<ClientStream> stream =
        ClientStream::Open(channel_, "/headrace.v1.Replay/" + method,
                           {.message = [](const grpc::ByteBuffer&) {},
                            .closed = [&](const absl::Status& status) { closed.set_value(status); }});
    for (const grpc::ByteBuffer& message : messages) stream->Send(message);
    return closed.get_future().get();
  }
  static grpc::ByteBuffer Bytes(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    return grpc::ByteBuffer(&slice, 1);
  }
  static grpc::ByteBuffer InsertOpen() {
    v1::InsertRequest request;
    *request.mutable_open()->mutable_peer() = MakePeer("run", "actor");
    request.mutable_open()->set_writer(5);
    request.mutable_open()->set_table("t");
    *request.mutable_open()->mutable_signature() = TestSignature();
    return ToByteBuffer(request);
  }
  static grpc::ByteBuffer SampleOpen(const std::string& table, const std::string& column) {
    v1::SampleRequest request;
    *request.mutable_open()->mutable_peer() = MakePeer("run", "learner");
    request.mutable_open()->set_table(table);
    if (!column.empty()) {
      request.mutable_open()->add_slices()->set_column(column);
      request.mutable_open()->mutable_slices(0)->set_rows(1);
    }
    return ToByteBuffer(request);
  }

  TestDirectory directory_;
  TestShard shard_{0, directory_.path()};
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Replay::Stub> stub_;
};

TEST_F(ServiceTest, GarbageEndsAStreamAndNothingElse) {
  for (const std::string method : {"Insert", "Sample", "Coordinate", "UpdatePriorities"}) {
    const absl::Status garbage = Converse(method, {Bytes("\xff\xff\xff garbage")});
    EXPECT_TRUE(absl::IsInvalidArgument(garbage)) << method << ": " << garbage;
  }
  absl::Status status = Converse("Insert", {InsertOpen(), Bytes("\xff\xff\xff garbage")});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  status = Converse("Sample", {SampleOpen("t", "reward"), Bytes("\xff\xff\xff garbage")});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(shard_.table().State().items(), 0u);
  EXPECT_EQ(shard_.table().State().inserted_steps(), 0u);
}

TEST_F(ServiceTest, RandomBytesNeverBreakTheShard) {
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kSampling);
  for (int i = 0; i < 100; ++i) {
    std::string bytes(1 + random.Below(60), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    bytes[0] = '\x12';  // a chunk header, as it seems
    // It may be taken for a chunk without rows; a second one must then end the stream by its number.
    EXPECT_FALSE(Converse("Insert", {InsertOpen(), Bytes(bytes), Bytes("garbage")}).ok());
  }
  EXPECT_EQ(shard_.table().State().items(), 0u);
  EXPECT_EQ(shard_.table().State().inserted_steps(), 0u);
}

TEST_F(ServiceTest, RawBytesOnThePortDoNoHarm) {
  const std::string address = shard_.address();
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100000, '\xff'),
                                   std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
                                   std::string("\x16\x03\x01\x02")}) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    ASSERT_EQ(connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    close(socket);
  }
  grpc::ClientContext context;
  v1::InfoResponse info;
  EXPECT_TRUE(stub_->Info(&context, {}, &info).ok());
}

// Also those whose answer was held back by the one before it, when the client had finished.
TEST_F(ServiceTest, EveryMessageOfPrioritiesIsAnsweredForBeforeTheStreamEnds) {
  constexpr uint64_t kMessages = 200;
  for (int round = 0; round < 20; ++round) {
    grpc::ClientContext context;
    const auto stream = stub_->UpdatePriorities(&context);
    v1::UpdatePrioritiesRequest priorities;
    *priorities.mutable_peer() = MakePeer("run", "learner");
    priorities.set_table("t");
    priorities.add_keys(1);
    priorities.add_priorities(1);
    for (uint64_t i = 0; i < kMessages; ++i) ASSERT_TRUE(stream->Write(priorities));
    ASSERT_TRUE(stream->WritesDone());
    v1::UpdatePrioritiesResponse totals;
    while (stream->Read(&totals)) {
    }
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_EQ(totals.messages(), kMessages);
    EXPECT_EQ(totals.unknown(), kMessages);
  }
}

TEST_F(ServiceTest, StreamsThatBeginWrongAreToldSo) {
  v1::InsertRequest chunk;
  chunk.mutable_chunk()->set_sequence(1);
  EXPECT_THAT(Converse("Insert", {ToByteBuffer(chunk)}).message(), HasSubstr("expected InsertOpen"));
  v1::SampleRequest sample;
  sample.set_batch_size(3);
  EXPECT_THAT(Converse("Sample", {ToByteBuffer(sample)}).message(), HasSubstr("expected SampleOpen"));
  absl::Status status = Converse("Sample", {SampleOpen("cats", "reward")});
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(status.message(), HasSubstr("no table \"cats\" on shard 0; its tables: t"));
  status = Converse("Sample", {SampleOpen("t", "cost")});
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(status.message(), HasSubstr("no column \"cost\""));
  EXPECT_THAT(Converse("Sample", {SampleOpen("t", "")}).message(), HasSubstr("expected 1 to 1024 slices, got 0"));
  v1::CoordinateRequest coordinate;
  *coordinate.mutable_peer() = MakePeer("another", "learner");
  coordinate.set_table("t");
  EXPECT_TRUE(absl::IsFailedPrecondition(Converse("Coordinate", {ToByteBuffer(coordinate)})));
  v1::UpdatePrioritiesRequest priorities;
  *priorities.mutable_peer() = MakePeer("another", "learner");
  priorities.set_table("t");
  EXPECT_TRUE(absl::IsFailedPrecondition(Converse("UpdatePriorities", {ToByteBuffer(priorities)})));
  *priorities.mutable_peer() = MakePeer("run", "learner");
  priorities.set_table("cats");
  EXPECT_TRUE(absl::IsNotFound(Converse("UpdatePriorities", {ToByteBuffer(priorities)})));
  priorities.set_table("t");
  priorities.add_keys(1);
  EXPECT_TRUE(absl::IsInvalidArgument(Converse("UpdatePriorities", {ToByteBuffer(priorities)})));
}

// A few bytes that announce as many rows as the table holds pushed out everything that was in it.
TEST_F(ServiceTest, AChunkWithoutItsPayloadRemovesNothing) {
  Table& table = shard_.table();
  TestWriter writer(&table, 1);
  writer.Append(0, 10, v1::TERMINATED);
  ASSERT_TRUE(writer.Insert().ok());
  ASSERT_EQ(table.State().items(), 9u);
  v1::ChunkHeader chunk;
  chunk.set_sequence(1);
  chunk.add_segments()->set_rows(static_cast<uint32_t>(table.rows().max_rows()));
  chunk.mutable_segments(0)->set_episode_start(true);
  const InsertMessage message = BeginInsertRequest(chunk, table.rows().max_rows() * table.layout().payload_bytes());
  const size_t head_bytes =
      static_cast<size_t>(reinterpret_cast<const uint8_t*>(message.payload) - message.message.begin());
  const grpc::Slice cut_off(message.message.begin(), head_bytes + 10);
  const absl::Status status = Converse("Insert", {InsertOpen(), grpc::ByteBuffer(&cut_off, 1)});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(table.State().items(), 9u);
}

TEST_F(ServiceTest, ChunksOverTheMessageLimitAreRefused) {
  const std::string large(static_cast<size_t>(kMaxMessageBytes) + 1, '\0');
  // The server's refusal, although the client's channel would let it through.
  grpc::ChannelArguments unlimited;
  unlimited.SetMaxSendMessageSize(-1);
  const auto channel = grpc::CreateCustomChannel(shard_.address(), grpc::InsecureChannelCredentials(), unlimited);
  std::promise<absl::Status> closed;
  const std::unique_ptr<ClientStream> stream =
      ClientStream::Open(channel, "/headrace.v1.Replay/Insert",
                         {.message = [](const grpc::ByteBuffer&) {},
                          .closed = [&](const absl::Status& status) { closed.set_value(status); }});
  stream->Send(InsertOpen());
  stream->Send(Bytes(large));
  const absl::Status status = closed.get_future().get();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("larger than max"));  // how KeptConnection knows it
}

TEST_F(ServiceTest, CheckpointsOnRequest) {
  v1::CheckpointRequest request;
  *request.mutable_peer() = MakePeer("run", "learner");
  request.set_name("first");
  request.set_keep(1);
  v1::CheckpointResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->Checkpoint(&context, request, &response).ok());
  }
  EXPECT_EQ(response.bytes(), ReadFile(response.path())->size());
  EXPECT_EQ(response.tables(0).table(), "t");
  request.set_name("../first");
  grpc::ClientContext context;
  EXPECT_EQ(stub_->Checkpoint(&context, request, &response).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, TellsWhatItHolds) {
  TestWriter writer(&shard_.table(), 9);
  writer.Append(0, 4);
  ASSERT_TRUE(writer.Insert().ok());
  grpc::ClientContext context;
  v1::InfoResponse info;
  ASSERT_TRUE(stub_->Info(&context, {}, &info).ok());
  EXPECT_EQ(info.run_id(), "run");
  EXPECT_EQ(info.protocol_version(), kProtocolVersion);
  ASSERT_EQ(info.tables_size(), 1);
  EXPECT_EQ(info.tables(0).state().items(), 3u);
  ASSERT_EQ(info.writers_size(), 1);
  EXPECT_EQ(info.writers(0).writer(), 9u);
  EXPECT_EQ(info.writers(0).last_sequence(), 1u);
}

}  // namespace
}  // namespace headrace
