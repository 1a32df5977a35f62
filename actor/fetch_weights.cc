#include "actor/fetch_weights.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/client_stream.h"
#include "common/grpc_server.h"
#include "common/policy_version.h"
#include "proto/parameter.pb.h"

namespace headrace {
namespace {

using Clock = ConditionVariable::Clock;

// What the stream's callbacks leave behind.
class Fetch {
 public:
  explicit Fetch(const std::string& run_id) : assembler_(run_id) {}

  void OnFrame(const grpc::ByteBuffer& message) {
    MutexLock lock(&mutex_);
    if (ended_) return;
    const absl::StatusOr<bool> complete = assembler_.Add(message);
    if (!complete.ok()) {
      End(complete.status());
    } else if (*complete) {
      weights_ = assembler_.Take();
      End(absl::OkStatus());
    }
  }

  void OnClosed(const absl::Status& status) {
    MutexLock lock(&mutex_);
    if (ended_) return;
    End(status.ok() ? absl::DataLossError("the stream ended before the weights were complete") : status);
  }

  absl::StatusOr<std::shared_ptr<const Weights>> Wait(uint64_t version, Clock::time_point deadline) {
    MutexLock lock(&mutex_);
    while (!ended_) {
      if (Clock::now() >= deadline) {
        ended_ = true;
        return absl::DeadlineExceededError(
            absl::StrFormat("weights of version %s have not arrived in time", PolicyVersionName(version)));
      }
      changed_.WaitUntil(&mutex_, deadline);
    }
    if (!status_.ok()) return status_;
    if (weights_->version != version) {
      return absl::DataLossError(absl::StrFormat("asked for weights of version %s, got version %s",
                                                 PolicyVersionName(version), PolicyVersionName(weights_->version)));
    }
    return weights_;
  }

 private:
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ended_ = true;
    status_ = status;
    changed_.NotifyAll();
  }

  Mutex mutex_;
  ConditionVariable changed_;
  WeightsAssembler assembler_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const Weights> weights_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Weights>> FetchWeights(const std::string& address, const v1::Peer& peer,
                                                            uint64_t version, Clock::time_point deadline) {
  if (version == 0) return absl::InvalidArgumentError("expected the version of the weights to fetch, got 0");
  const std::shared_ptr<grpc::Channel> channel = MakeChannel(address);
  Fetch fetch(peer.run_id());
  const std::unique_ptr<ClientStream> stream =
      ClientStream::Open(channel, "/headrace.v1.Parameters/Subscribe",
                         {.message = [&](const grpc::ByteBuffer& message) { fetch.OnFrame(message); },
                          .closed = [&](const absl::Status& status) { fetch.OnClosed(status); }});
  v1::SubscribeRequest request;
  *request.mutable_peer() = peer;
  request.set_only(version);
  stream->Send(ToByteBuffer(request));
  return fetch.Wait(version, deadline);
}

}  // namespace headrace
