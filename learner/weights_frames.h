// A version of the weights as the messages that carry it (WeightsFrame in proto/parameter.proto), made once for all
// subscribers: copying a frame copies a reference, and the bytes live until the last copy has been sent.
#ifndef HEADRACE_LEARNER_WEIGHTS_FRAMES_H_
#define HEADRACE_LEARNER_WEIGHTS_FRAMES_H_

#include <vector>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "proto/parameter.pb.h"

namespace headrace {

inline constexpr size_t kWeightsFrameBytes = 1 << 20;

// Sets header.bytes. The frames refer to the memory of `safetensors`: nothing is copied.
std::vector<grpc::ByteBuffer> FrameWeights(v1::WeightsHeader header, const grpc::Slice& safetensors);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_WEIGHTS_FRAMES_H_
