#include "learner/weights_frames.h"

#include <algorithm>
#include <utility>

#include "grpcpp/support/slice.h"
#include "learner/weights_message.h"

namespace headrace {

std::vector<grpc::ByteBuffer> FrameWeights(v1::WeightsHeader header, std::string safetensors) {
  const grpc::Slice whole = ToSlice(std::move(safetensors));
  header.set_bytes(whole.size());
  v1::WeightsFrame fields;
  *fields.mutable_header() = std::move(header);
  std::vector<grpc::ByteBuffer> frames;
  for (size_t begin = 0; begin < whole.size(); begin += kWeightsFrameBytes) {
    const size_t end = std::min(begin + kWeightsFrameBytes, whole.size());
    frames.push_back(WithBytes(fields, v1::WeightsFrame::kDataFieldNumber, whole.sub(begin, end)));
    fields.clear_header();  // only in the first
  }
  return frames;
}

}  // namespace headrace
