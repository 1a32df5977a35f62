// Messages as bytes: what the data path sends and receives instead of message objects.
#ifndef HEADRACE_COMMON_BYTE_BUFFER_H_
#define HEADRACE_COMMON_BYTE_BUFFER_H_

#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "grpcpp/support/byte_buffer.h"

namespace headrace {

grpc::ByteBuffer ToByteBuffer(const google::protobuf::MessageLite& message);

// InvalidArgument: the bytes are not such a message.
absl::Status FromByteBuffer(const grpc::ByteBuffer& buffer, google::protobuf::MessageLite& message);

}  // namespace headrace

#endif  // HEADRACE_COMMON_BYTE_BUFFER_H_
