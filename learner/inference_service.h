// Central inference (proto/inference.proto): answers actors' observations with actions of the newest weights.
//
//   InferenceService inference(config, identity, registry);
//   ASSIGN_OR_RETURN(auto server, GrpcServer::Start(listen, {&inference, ...}));
//   inference.Publish(version, weights);                      // whenever there are newer ones
//   RETURN_IF_ERROR(inference.Open(observation, policies));   // from here on actors are answered
//
// A stream's callback copies a request's rows into a batch (learner/inference_batcher.h); prediction threads, each with
// a policy of its own, load the newest weights between batches, run the policy, and answer. A client with wrong shapes
// is refused, and one that vanishes is not answered; neither is noticed by the others.
//
// Must outlive the server. Thread-safe, but for Open, which is called once.
#ifndef HEADRACE_LEARNER_INFERENCE_SERVICE_H_
#define HEADRACE_LEARNER_INFERENCE_SERVICE_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "algorithm/algorithm.h"
#include "common/metrics.h"
#include "common/mutex.h"
#include "common/random.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "learner/actor_gate.h"
#include "learner/inference_batcher.h"
#include "learner/inference_metrics.h"
#include "proto/checkpoint.pb.h"
#include "proto/column.pb.h"
#include "proto/config.pb.h"
#include "proto/inference.grpc.pb.h"

namespace headrace {

class InferenceService final : public v1::Inference::WithRawCallbackMethod_Act<v1::Inference::Service> {
 public:
  // `registry` must outlive this.
  InferenceService(const v1::RunConfig& config, const v1::LearnerIdentity& identity, MetricRegistry& registry);
  ~InferenceService() override;

  // Newer weights; policies load them before their next batch.
  void Publish(uint64_t version, std::string safetensors) ABSL_LOCKS_EXCLUDED(mutex_);

  // Starts a thread for each policy; it answers once there are weights. `observation`: as policies see it, and so
  // many numbers of recurrent state with it. InvalidArgument: no tensor has its type.
  absl::Status Open(const v1::Column& observation, std::vector<std::unique_ptr<Policy>> policies,
                    int64_t state_size = 0) ABSL_LOCKS_EXCLUDED(mutex_);
  // While it runs: the first so many threads run the policy, and the first so many actors are answered, the others held
  // back (learner/actor_gate.h). At least 1; before the first call all. Not before Open.
  void SetThreads(size_t threads) { batcher_->SetThreads(threads); }
  void SetActors(size_t actors) { gate_->SetActors(actors); }

  InferenceMetrics& metrics() { return metrics_; }

  // Ends the threads; what was asked is not answered any more. Streams end with the server.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Stream;
  struct Weights {
    uint64_t version;
    std::string safetensors;
  };
  // What a prediction thread has.
  struct Predictor {
    std::unique_ptr<Policy> policy;
    RandomStream exploration;
    uint64_t version = 0;  // of the weights that are loaded
    at::Tensor recurrent_state = {};
    at::Tensor actions = {};
    at::Tensor log_probs = {};
  };

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Act(grpc::CallbackServerContext*) override;
  absl::Status CheckOpen(const v1::ActOpen& open) const;
  void Predict(Predictor& predictor, size_t thread);
  // On the rows of the batch; whatever LibTorch throws is a status.
  absl::Status Compute(Predictor& predictor, const InferenceBatch& batch, InferenceBatcher::Clock::time_point& loaded);
  // Null: the service is being stopped.
  std::shared_ptr<const Weights> WaitForWeights() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status LoadNewest(Predictor& predictor);

  const v1::InferenceConfig config_;
  const v1::LearnerIdentity identity_;
  const uint64_t seed_;
  InferenceMetrics metrics_;

  // Set by Open, before opened_.
  v1::Column observation_;
  at::ScalarType type_ = at::kFloat;
  size_t row_bytes_ = 0;
  int64_t state_size_ = 0;
  std::unique_ptr<InferenceBatcher> batcher_;
  std::unique_ptr<ActorGate> gate_;
  std::vector<Predictor> predictors_;
  std::vector<std::thread> threads_;
  std::atomic<bool> opened_ = false;

  Mutex mutex_;
  ConditionVariable changed_;
  std::shared_ptr<const Weights> newest_ ABSL_GUARDED_BY(mutex_);
  size_t started_ ABSL_GUARDED_BY(mutex_) = 0;  // threads
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_INFERENCE_SERVICE_H_
