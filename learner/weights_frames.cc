#include "learner/weights_frames.h"

#include <algorithm>
#include <utility>

#include "learner/weights_message.h"

namespace headrace {

std::vector<grpc::ByteBuffer> FrameWeights(v1::WeightsHeader header, const grpc::Slice& safetensors) {
  header.set_bytes(safetensors.size());
  v1::WeightsFrame fields;
  *fields.mutable_header() = std::move(header);
  std::vector<grpc::ByteBuffer> frames;
  for (size_t begin = 0; begin < safetensors.size(); begin += kWeightsFrameBytes) {
    const size_t end = std::min(begin + kWeightsFrameBytes, safetensors.size());
    frames.push_back(WithBytes(fields, v1::WeightsFrame::kDataFieldNumber, safetensors.sub(begin, end)));
    fields.clear_header();  // only in the first
  }
  return frames;
}

}  // namespace headrace
