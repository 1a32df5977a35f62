// Takes the gradients that actors push (proto/gradient.proto), and answers each with the newest weights.
//
//   GradientService gradients(identity, registry);
//   ASSIGN_OR_RETURN(auto server, GrpcServer::Start(listen, {&gradients, ...}));
//   gradients.Open({elements_of_group_0, ...});
//   gradients.Publish(version, weights);                        // from here on actors are answered
//   if (const auto push = gradients.Next(deadline)) {
//     ... step the parameters; Publish(newer_version, newer_weights) ...
//     gradients.Answer(*push, v1::APPLIED);
//   }
//
// What does not have the parameters' size is refused before anybody sees it, and felt by nobody else.
//
// Must outlive the server. Thread-safe, but for Open, which is called once.
#ifndef HEADRACE_LEARNER_GRADIENT_SERVICE_H_
#define HEADRACE_LEARNER_GRADIENT_SERVICE_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/server_stream.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "grpcpp/support/slice.h"
#include "learner/gradient_metrics.h"
#include "proto/checkpoint.pb.h"
#include "proto/gradient.grpc.pb.h"

namespace headrace {

// One gradient, and who waits for its answer.
struct GradientPush {
  v1::PushRequest request;
  uint32_t index = 0;   // the actor's
  uint64_t pusher = 0;  // PushOpen.pusher
  std::weak_ptr<ServerStream> client;
  bool again = false;  // it was answered before, and the answer was lost
};

class GradientService final : public v1::Gradients::WithRawCallbackMethod_Push<v1::Gradients::Service> {
 public:
  // `registry` must outlive this.
  GradientService(const v1::LearnerIdentity& identity, MetricRegistry& registry);

  // Numbers in each group of parameters.
  void Open(std::vector<uint64_t> elements) ABSL_LOCKS_EXCLUDED(mutex_);
  // What the next answers carry.
  void Publish(uint64_t version, std::string weights) ABSL_LOCKS_EXCLUDED(mutex_);
  // The oldest that is not taken; null: there was none in time.
  std::optional<GradientPush> Next(std::chrono::steady_clock::time_point deadline) ABSL_LOCKS_EXCLUDED(mutex_);
  // Counts the verdict, but for one that is told again.
  void Answer(const GradientPush& push, v1::GradientVerdict verdict) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a gradient, in updates.
  void ObserveStaleness(double updates) { metrics_.staleness.Observe(updates); }

  // Streams that are open.
  uint32_t clients() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Stream;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Push(grpc::CallbackServerContext*) override;
  // The answer to PushOpen. FailedPrecondition, Unavailable: see gradient.proto.
  absl::Status CheckOpen(const v1::PushOpen& open) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckGradient(const v1::PushRequest& request) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Add(GradientPush push) ABSL_LOCKS_EXCLUDED(mutex_);
  void Connected(bool is) ABSL_LOCKS_EXCLUDED(mutex_);
  grpc::ByteBuffer MakeAnswer(uint64_t number, v1::GradientVerdict verdict) const ABSL_LOCKS_EXCLUDED(mutex_);

  const v1::LearnerIdentity identity_;
  GradientMetrics metrics_;

  mutable Mutex mutex_;
  ConditionVariable changed_;
  std::vector<uint64_t> elements_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: there are no weights yet
  grpc::Slice weights_ ABSL_GUARDED_BY(mutex_);   // which the answers on their way refer to as well
  std::deque<GradientPush> queue_
      ABSL_GUARDED_BY(mutex_);  // one for each client at most; what one that has gone had learned counts
  uint32_t clients_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_GRADIENT_SERVICE_H_
