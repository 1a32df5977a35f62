// Keeps the newest weights of the learner: a subscription that is opened again, with growing pauses, for as long as the
// object lives.
//
//   auto parameters = std::make_unique<ParameterSubscriber>(learner_address, MakePeer(run_id, "actor 3"));
//   ASSIGN_OR_RETURN(auto weights, parameters->WaitFor(1, deadline));  // the first ones
//   if (parameters->newest_version() > weights->version) weights = parameters->Newest();
//
// Weights are never replaced by older ones; a newer incarnation of the learner is newer, wherever it starts counting.
// Thread-safe. newest_version() is one atomic read, cheap enough for each step.
#ifndef HEADRACE_ACTOR_PARAMETER_SUBSCRIBER_H_
#define HEADRACE_ACTOR_PARAMETER_SUBSCRIBER_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/weights_assembler.h"
#include "common/client_stream.h"
#include "common/kept_connection.h"
#include "common/mutex.h"
#include "grpcpp/channel.h"
#include "proto/handshake.pb.h"

namespace headrace {

class ParameterSubscriber {
 public:
  using Clock = ConditionVariable::Clock;

  ParameterSubscriber(const std::string& address, const v1::Peer& peer);

  // 0: none yet.
  uint64_t newest_version() const { return newest_version_; }
  // Null: none yet.
  std::shared_ptr<const Weights> Newest() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The newest weights once their version is `at_least` or newer (1: any). Cancelled; DeadlineExceeded: says what was
  // awaited and what stood in the way; what status() says, if that is not OK.
  absl::StatusOr<std::shared_ptr<const Weights>> WaitFor(uint64_t at_least, Clock::time_point deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the subscription for good, and every WaitFor, now and later. What was received stays.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);

  // How often weights arrived again after the subscription had been lost.
  uint64_t reconnects() const { return connection_.reconnects(); }
  // Not OK: the learner refused this process (FailedPrecondition: another run or protocol), and no further attempt is
  // made. A learner that is merely away is waited for.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status OpenStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void CloseStream() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnLost(const absl::Status& status, bool final) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnFrame(const grpc::ByteBuffer& message) ABSL_LOCKS_EXCLUDED(mutex_);
  void Install(std::shared_ptr<const Weights> weights) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string address_;
  const v1::Peer peer_;
  const std::shared_ptr<grpc::Channel> channel_;

  std::atomic<uint64_t> newest_version_ = 0;

  mutable Mutex mutex_;  // taken before the stream's own
  ConditionVariable changed_;
  std::shared_ptr<const Weights> newest_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ClientStream> stream_ ABSL_GUARDED_BY(mutex_);
  absl::Status trouble_ ABSL_GUARDED_BY(mutex_);  // why the last attempt failed; OK after a success
  absl::Status fatal_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;

  WeightsAssembler assembler_;  // touched by one callback at a time, and while there is no stream
  KeptConnection connection_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_PARAMETER_SUBSCRIBER_H_
