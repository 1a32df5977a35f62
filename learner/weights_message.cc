#include "learner/weights_message.h"

#include <utility>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace headrace {

grpc::Slice ToSlice(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  return grpc::Slice(
      owned->data(), owned->size(), [](void* owner) { delete static_cast<std::string*>(owner); }, owned);
}

grpc::ByteBuffer WithBytes(const google::protobuf::MessageLite& message, int field, const grpc::Slice& bytes) {
  using google::protobuf::internal::WireFormatLite;
  using google::protobuf::io::CodedOutputStream;
  const uint32_t tag = WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  grpc::Slice head(message.ByteSizeLong() + CodedOutputStream::VarintSize32(tag) +
                   CodedOutputStream::VarintSize64(bytes.size()));
  uint8_t* out = message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(head.begin()));
  out = CodedOutputStream::WriteVarint32ToArray(tag, out);
  CodedOutputStream::WriteVarint64ToArray(bytes.size(), out);
  const grpc::Slice slices[] = {std::move(head), bytes};
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace headrace
