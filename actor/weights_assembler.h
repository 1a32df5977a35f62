// The weights of one version, and their assembly from the frames in which they arrive (proto/parameter.proto).
//
//   ASSIGN_OR_RETURN(const bool complete, assembler.Add(message));
//   if (complete) Install(assembler.Take());
//
// Not thread-safe.
#ifndef HEADRACE_ACTOR_WEIGHTS_ASSEMBLER_H_
#define HEADRACE_ACTOR_WEIGHTS_ASSEMBLER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/support/byte_buffer.h"
#include "proto/parameter.pb.h"

namespace headrace {

struct Weights {
  uint64_t version = 0;  // packed PolicyVersion (common/policy_version.h)
  uint64_t env_steps = 0;
  std::string run_id;
  std::string safetensors;  // the whole file
};

// What a header may announce at most.
inline constexpr uint64_t kMaxWeightsBytes = uint64_t{4} << 30;

class WeightsAssembler {
 public:
  // `run_id`: of the run whose weights are expected; empty: of any.
  explicit WeightsAssembler(std::string run_id) : run_id_(std::move(run_id)) {}

  // True: a version is complete, to be taken before the next frame. DataLoss: the bytes are no frame, or do not add up
  // to what was announced; FailedPrecondition: the weights are of another run. After an error the object is of no use.
  absl::StatusOr<bool> Add(const grpc::ByteBuffer& message);
  std::shared_ptr<const Weights> Take();

 private:
  absl::Status Begin(const v1::WeightsHeader& header);

  std::string run_id_;
  v1::WeightsFrame frame_;
  std::shared_ptr<Weights> weights_;  // null between versions
  uint64_t bytes_ = 0;                // announced
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_WEIGHTS_ASSEMBLER_H_
