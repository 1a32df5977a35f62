// Requests for actions, framed by hand around their observations: on the wire they are ActRequest of
// proto/inference.proto, payload last; in memory the payload never is a message field.
#ifndef HEADRACE_COMMON_ACT_WIRE_H_
#define HEADRACE_COMMON_ACT_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "grpcpp/support/byte_buffer.h"
#include "proto/inference.pb.h"

namespace headrace {

// ActResponse.status_code for an actor that is held back for a while (learner/actor_gate.h): it is to ask again, and to
// wait for the answer for as long as it takes.
inline constexpr absl::StatusCode kHeldBack = absl::StatusCode::kUnavailable;

// recurrent_state: empty where none is recorded.
grpc::ByteBuffer MakeActRequest(uint64_t request, std::span<const std::byte> observations,
                                std::span<const std::byte> recurrent_state = {});

// Reads an ActRequest of `bytes` bytes up to its observations and leaves `in` there; they are all that is left.
// InvalidArgument: it is none.
absl::Status ReadActRequest(google::protobuf::io::CodedInputStream& in, size_t bytes, v1::ActRequest& head,
                            size_t& observation_bytes);

}  // namespace headrace

#endif  // HEADRACE_COMMON_ACT_WIRE_H_
