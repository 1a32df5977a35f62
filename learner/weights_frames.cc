#include "learner/weights_frames.h"

#include <algorithm>
#include <utility>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/support/slice.h"

namespace headrace {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t kDataTag =
    WireFormatLite::MakeTag(v1::WeightsFrame::kDataFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

// All fields before the data (which has the highest number), and the data's tag and length.
grpc::Slice FrameHead(const v1::WeightsFrame& fields, size_t data_bytes) {
  const size_t fields_bytes = fields.ByteSizeLong();
  grpc::Slice head(fields_bytes + CodedOutputStream::VarintSize32(kDataTag) +
                   CodedOutputStream::VarintSize64(data_bytes));
  uint8_t* out = fields.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(head.begin()));
  out = CodedOutputStream::WriteVarint32ToArray(kDataTag, out);
  CodedOutputStream::WriteVarint64ToArray(data_bytes, out);
  return head;
}

}  // namespace

std::vector<grpc::ByteBuffer> FrameWeights(v1::WeightsHeader header, std::string safetensors) {
  auto* const file = new std::string(std::move(safetensors));
  const grpc::Slice whole(
      file->data(), file->size(), [](void* owner) { delete static_cast<std::string*>(owner); }, file);
  header.set_bytes(whole.size());
  v1::WeightsFrame fields;
  *fields.mutable_header() = std::move(header);
  std::vector<grpc::ByteBuffer> frames;
  for (size_t begin = 0; begin < whole.size(); begin += kWeightsFrameBytes) {
    const size_t end = std::min(begin + kWeightsFrameBytes, whole.size());
    const grpc::Slice slices[] = {FrameHead(fields, end - begin), whole.sub(begin, end)};
    frames.emplace_back(slices, 2);
    fields.clear_header();  // only in the first
  }
  return frames;
}

}  // namespace headrace
