// The weights broadcast (proto/parameter.proto): every subscriber gets the newest version at once, and each newer one
// once it has confirmed the one before. A slow subscriber skips versions; it delays neither the learner nor the others.
//
//   ParameterService parameters(run_id);
//   ASSIGN_OR_RETURN(auto server, GrpcServer::Start(listen, {&parameters, ...}));
//   parameters.Publish(PackPolicyVersion(incarnation, updates), env_steps, ActorWeights(learner));
//
// A version is framed once, and its memory is shared by all streams that carry it: what is kept is the newest version,
// the held ones, and what is still on its way to somebody. Must outlive the server. Thread-safe.
#ifndef HEADRACE_LEARNER_PARAMETER_SERVICE_H_
#define HEADRACE_LEARNER_PARAMETER_SERVICE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "grpcpp/support/slice.h"
#include "proto/parameter.grpc.pb.h"

namespace headrace {

class ParameterService final : public v1::Parameters::WithRawCallbackMethod_Subscribe<v1::Parameters::Service> {
 public:
  explicit ParameterService(std::string run_id) : run_id_(std::move(run_id)) {}

  // `version` must be newer than all published before, and the weights not empty. Returns as soon as the version is
  // queued for whoever is idle.
  void Publish(uint64_t version, uint64_t env_steps, std::string safetensors) ABSL_LOCKS_EXCLUDED(mutex_);

  // Keeps the newest version for those who ask for it by its number (SubscribeRequest.only), until it is released.
  // Returns its bytes, which are not copied. nullopt: `version` is neither the newest nor held already.
  std::optional<grpc::Slice> Hold(uint64_t version) ABSL_LOCKS_EXCLUDED(mutex_);
  void Release(uint64_t version) ABSL_LOCKS_EXCLUDED(mutex_);

  // Those that stay; not the ones that fetch a single version.
  size_t subscribers() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The version that the one of them furthest behind has confirmed. nullopt: none has confirmed any.
  std::optional<uint64_t> OldestReceived() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Stream;
  struct Weights {
    grpc::Slice safetensors;
    std::vector<grpc::ByteBuffer> frames;
  };
  struct Subscriber {
    uint64_t sent = 0;      // 0: nothing yet
    uint64_t received = 0;  // as confirmed; differs from `sent` while a version is on its way
  };

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Subscribe(grpc::CallbackServerContext*) override;
  // What the streams ask for. A stream is in the map from Add until Remove, its last call.
  absl::Status SendOnly(Stream* stream, uint64_t version) ABSL_LOCKS_EXCLUDED(mutex_);
  void Add(Stream* stream) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Confirm(Stream* stream, uint64_t received) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(Stream* stream) ABSL_LOCKS_EXCLUDED(mutex_);
  void SendNewest(Stream* stream, Subscriber& subscriber) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string run_id_;

  mutable Mutex mutex_;  // taken before a stream's own
  std::map<Stream*, Subscriber> subscribers_ ABSL_GUARDED_BY(mutex_);
  uint64_t newest_version_ ABSL_GUARDED_BY(mutex_) = 0;
  Weights newest_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Weights> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_PARAMETER_SERVICE_H_
