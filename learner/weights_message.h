// Messages that carry weights without a copy of them: a message and its copies refer to the same memory, which lives
// until the last of them has been sent.
#ifndef HEADRACE_LEARNER_WEIGHTS_MESSAGE_H_
#define HEADRACE_LEARNER_WEIGHTS_MESSAGE_H_

#include <string>

#include "google/protobuf/message_lite.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"

namespace headrace {

// Owns the string's memory.
grpc::Slice ToSlice(std::string bytes);

// The message with `bytes` as its field of that number besides, which is of type bytes, is not set, and has a higher
// number than those that are.
grpc::ByteBuffer WithBytes(const google::protobuf::MessageLite& message, int field, const grpc::Slice& bytes);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_WEIGHTS_MESSAGE_H_
