#include "actor/weights_assembler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/byte_buffer.h"
#include "common/check.h"
#include "common/policy_version.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

// Reserved on the header's word alone; beyond it the memory grows with what has really arrived.
constexpr uint64_t kMaxReserveBytes = 64 << 20;

}  // namespace

absl::StatusOr<bool> WeightsAssembler::Add(const grpc::ByteBuffer& message) {
  if (const absl::Status status = FromByteBuffer(message, frame_); !status.ok()) {
    return absl::DataLossError(status.message());
  }
  if (frame_.has_header()) {
    RETURN_IF_ERROR(Begin(frame_.header()));
  } else if (weights_ == nullptr) {
    return absl::DataLossError("expected a header in the first frame of a version");
  }
  std::string& file = weights_->safetensors;
  if (frame_.data().empty() || frame_.data().size() > bytes_ - file.size()) {
    return absl::DataLossError(absl::StrFormat("version %s: expected %d more of %d bytes, got a frame of %d",
                                               PolicyVersionName(weights_->version), bytes_ - file.size(), bytes_,
                                               frame_.data().size()));
  }
  file += frame_.data();
  return file.size() == bytes_;
}

std::shared_ptr<const Weights> WeightsAssembler::Take() {
  HEADRACE_CHECK(weights_ != nullptr && weights_->safetensors.size() == bytes_);
  return std::exchange(weights_, nullptr);
}

absl::Status WeightsAssembler::Begin(const v1::WeightsHeader& header) {
  if (weights_ != nullptr) {
    return absl::DataLossError(absl::StrFormat("version %s begins after %d of the %d bytes of version %s",
                                               PolicyVersionName(header.version()), weights_->safetensors.size(),
                                               bytes_, PolicyVersionName(weights_->version)));
  }
  if (header.version() == 0) return absl::DataLossError("weights without a version");
  if (header.bytes() == 0 || header.bytes() > kMaxWeightsBytes) {
    return absl::DataLossError(absl::StrFormat("version %s: expected 1 to %d bytes of weights, %d are announced",
                                               PolicyVersionName(header.version()), kMaxWeightsBytes, header.bytes()));
  }
  if (!run_id_.empty() && header.run_id() != run_id_) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the weights are of run %s, this process belongs to run %s", header.run_id(), run_id_));
  }
  weights_ = std::make_shared<Weights>();
  weights_->version = header.version();
  weights_->env_steps = header.env_steps();
  weights_->run_id = header.run_id();
  weights_->safetensors.reserve(std::min(header.bytes(), kMaxReserveBytes));
  bytes_ = header.bytes();
  return absl::OkStatus();
}

}  // namespace headrace
