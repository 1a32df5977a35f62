#include "replay/shard_connection.h"

#include <chrono>
#include <utility>

#include "absl/hash/hash.h"
#include "common/backoff.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "grpcpp/client_context.h"
#include "proto/replay.grpc.pb.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};
constexpr std::chrono::seconds kCreateDeadline{5};

bool IsFatal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) || absl::IsResourceExhausted(status);
}

}  // namespace

ShardConnection::ShardConnection(ShardConnectionOptions options, Callbacks callbacks)
    : options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      channel_(MakeChannel(options_.address)),
      thread_([this] { KeepConnected(); }) {}

ShardConnection::~ShardConnection() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void ShardConnection::RequestSample(const v1::SampleRequest& request) {
  MutexLock lock(&mutex_);
  if (sample_ != nullptr) sample_->Send(ToByteBuffer(request));
}

void ShardConnection::Coordinate(const v1::CoordinateRequest& request) {
  MutexLock lock(&mutex_);
  if (coordinate_ != nullptr) coordinate_->Send(ToByteBuffer(request));
}

void ShardConnection::KeepConnected() {
  Backoff backoff(kFirstPause, kLongestPause, RandomStream(absl::HashOf(options_.address)));
  while (true) {
    v1::TableState state;
    absl::Status status = CreateTable(state);
    if (status.ok()) {
      status = Converse(state);
      backoff.Reset();
    }
    {
      MutexLock lock(&mutex_);
      if (stopping_) return;
    }
    const bool fatal = IsFatal(status);
    callbacks_.disconnected(status, fatal);
    if (fatal || !Pause(backoff.Next())) return;
  }
}

absl::Status ShardConnection::CreateTable(v1::TableState& state) {
  v1::CreateTableRequest request;
  *request.mutable_peer() = options_.peer;
  *request.mutable_spec() = options_.table;
  v1::CreateTableResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCreateDeadline);
  RETURN_IF_ERROR(FromGrpc(v1::Replay::NewStub(channel_)->CreateTable(&context, request, &response)));
  state = response.state();
  return absl::OkStatus();
}

absl::Status ShardConnection::Converse(const v1::TableState& state) {
  {
    MutexLock lock(&mutex_);
    closed_ = false;  // before the streams are opened: they may close at once
  }
  const auto closed = [this](const absl::Status& status) { OnClosed(status); };
  std::unique_ptr<ClientStream> sample = ClientStream::Open(
      channel_, "/headrace.v1.Replay/Sample",
      {.message = [this](const grpc::ByteBuffer& message) { callbacks_.sample(message); }, .closed = closed});
  std::unique_ptr<ClientStream> coordinate = ClientStream::Open(channel_, "/headrace.v1.Replay/Coordinate",
                                                                {.message =
                                                                     [this](const grpc::ByteBuffer& message) {
                                                                       v1::TableState newer;
                                                                       if (FromByteBuffer(message, newer).ok())
                                                                         callbacks_.state(newer);
                                                                     },
                                                                 .closed = closed});
  v1::SampleRequest open;
  *open.mutable_open()->mutable_peer() = options_.peer;
  open.mutable_open()->set_table(options_.table.name());
  for (const v1::ColumnSlice& slice : options_.slices) *open.mutable_open()->add_slices() = slice;
  sample->Send(ToByteBuffer(open));
  {
    MutexLock lock(&mutex_);
    sample_ = std::move(sample);
    coordinate_ = std::move(coordinate);
  }
  callbacks_.connected(state);
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    while (!closed_ && !stopping_) changed_.Wait(&mutex_);
    sample = std::move(sample_);
    coordinate = std::move(coordinate_);
    status = close_status_;
  }
  // Outside the mutex: the streams' last callbacks take it.
  sample.reset();
  coordinate.reset();
  return status.ok() ? absl::UnavailableError("the shard ended the stream") : status;
}

void ShardConnection::OnClosed(const absl::Status& status) {
  MutexLock lock(&mutex_);
  if (closed_) return;  // the first to close says why
  closed_ = true;
  close_status_ = status;
  changed_.NotifyAll();
}

bool ShardConnection::Pause(std::chrono::milliseconds pause) {
  const auto until = ConditionVariable::Clock::now() + pause;
  MutexLock lock(&mutex_);
  while (!stopping_ && ConditionVariable::Clock::now() < until) changed_.WaitUntil(&mutex_, until);
  return !stopping_;
}

}  // namespace headrace
