#include "replay/shard_connection.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {
namespace {

constexpr std::chrono::seconds kCreateDeadline{30};

}  // namespace

ShardConnection::ShardConnection(ShardConnectionOptions options, Callbacks callbacks)
    : options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      channel_(MakeChannel(options_.address)),
      connection_(absl::StrCat("the replay shard at ", options_.address),
                  {.open = [this] { return Open(); }, .close = [this] { Close(); }, .lost = callbacks_.disconnected}) {}

ShardConnection::~ShardConnection() { Stop(); }

void ShardConnection::Stop() {
  connection_.Stop();
  MutexLock lock(&mutex_);
  stopping_ = true;
  if (creating_ != nullptr) creating_->TryCancel();
}

void ShardConnection::RequestSample(const v1::SampleRequest& request) {
  MutexLock lock(&mutex_);
  if (sample_ != nullptr) sample_->Send(ToByteBuffer(request));
}

void ShardConnection::Coordinate(const v1::CoordinateRequest& request) {
  MutexLock lock(&mutex_);
  if (coordinate_ != nullptr) coordinate_->Send(ToByteBuffer(request));
}

void ShardConnection::UpdatePriorities(const v1::UpdatePrioritiesRequest& request) {
  MutexLock lock(&mutex_);
  if (priorities_ != nullptr) priorities_->Send(ToByteBuffer(request));
}

absl::Status ShardConnection::Open() {
  v1::CreateTableResponse created;
  RETURN_IF_ERROR(CreateTable(created));
  const auto closed = [this](const absl::Status& status) { connection_.Lost(status); };
  std::unique_ptr<ClientStream> sample = ClientStream::Open(
      channel_, "/headrace.v1.Replay/Sample",
      {.message = [this](const grpc::ByteBuffer& message) { callbacks_.sample(message); }, .closed = closed});
  std::unique_ptr<ClientStream> coordinate = ClientStream::Open(channel_, "/headrace.v1.Replay/Coordinate",
                                                                {.message =
                                                                     [this](const grpc::ByteBuffer& message) {
                                                                       // That a call was answered proves no stream.
                                                                       connection_.Proven();
                                                                       v1::TableState newer;
                                                                       if (FromByteBuffer(message, newer).ok())
                                                                         callbacks_.state(newer);
                                                                     },
                                                                 .closed = closed});
  std::unique_ptr<ClientStream> priorities = ClientStream::Open(
      channel_, "/headrace.v1.Replay/UpdatePriorities", {.message = [](const grpc::ByteBuffer&) {}, .closed = closed});
  v1::SampleRequest open;
  *open.mutable_open()->mutable_peer() = options_.peer;
  open.mutable_open()->set_table(options_.table.name());
  for (const v1::ColumnSlice& slice : options_.slices) *open.mutable_open()->add_slices() = slice;
  open.mutable_open()->set_pad(options_.pad);
  open.mutable_open()->set_without_replacement(options_.without_replacement);
  sample->Send(ToByteBuffer(open));
  v1::UpdatePrioritiesRequest open_priorities;
  *open_priorities.mutable_peer() = options_.peer;
  open_priorities.set_table(options_.table.name());
  priorities->Send(ToByteBuffer(open_priorities));
  {
    MutexLock lock(&mutex_);
    sample_ = std::move(sample);
    coordinate_ = std::move(coordinate);
    priorities_ = std::move(priorities);
  }
  callbacks_.connected(created);
  return absl::OkStatus();
}

void ShardConnection::Close() {
  std::unique_ptr<ClientStream> sample;  // destroyed outside the mutex: their last callbacks take it
  std::unique_ptr<ClientStream> coordinate;
  std::unique_ptr<ClientStream> priorities;
  MutexLock lock(&mutex_);
  sample = std::move(sample_);
  coordinate = std::move(coordinate_);
  priorities = std::move(priorities_);
}

absl::Status ShardConnection::CreateTable(v1::CreateTableResponse& response) {
  v1::CreateTableRequest request;
  *request.mutable_peer() = options_.peer;
  *request.mutable_spec() = options_.table;
  if (options_.redistribution.files_size() > 0) *request.mutable_redistribution() = options_.redistribution;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCreateDeadline);
  {
    MutexLock lock(&mutex_);
    if (stopping_) return absl::CancelledError("stopped");
    creating_ = &context;
  }
  const grpc::Status status = v1::Replay::NewStub(channel_)->CreateTable(&context, request, &response);
  {
    MutexLock lock(&mutex_);
    creating_ = nullptr;
  }
  return FromGrpc(status);
}

}  // namespace headrace
