// absl::Status and grpc::Status have the same codes.
#ifndef HEADRACE_COMMON_GRPC_STATUS_H_
#define HEADRACE_COMMON_GRPC_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace headrace {

inline grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

inline absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace headrace

#endif  // HEADRACE_COMMON_GRPC_STATUS_H_
