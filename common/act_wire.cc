#include "common/act_wire.h"

#include <climits>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/support/slice.h"

namespace headrace {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t kOpenTag =
    WireFormatLite::MakeTag(v1::ActRequest::kOpenFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kRequestTag =
    WireFormatLite::MakeTag(v1::ActRequest::kRequestFieldNumber, WireFormatLite::WIRETYPE_VARINT);
constexpr uint32_t kObservationsTag =
    WireFormatLite::MakeTag(v1::ActRequest::kObservationsFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

bool ReadOpen(CodedInputStream& in, v1::ActOpen& open) {
  uint32_t length;
  if (!in.ReadVarint32(&length) || length > INT_MAX) return false;
  const CodedInputStream::Limit limit = in.PushLimit(static_cast<int>(length));
  if (in.BytesUntilLimit() != static_cast<int>(length) || !open.MergeFromCodedStream(&in) ||
      !in.ConsumedEntireMessage() || in.BytesUntilLimit() != 0) {
    return false;
  }
  in.PopLimit(limit);
  return true;
}

absl::Status Refuse(const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("expected an ActRequest, got ", what));
}

}  // namespace

grpc::ByteBuffer MakeActRequest(uint64_t request, std::span<const std::byte> observations) {
  const size_t head_bytes = CodedOutputStream::VarintSize32(kRequestTag) + CodedOutputStream::VarintSize64(request) +
                            CodedOutputStream::VarintSize32(kObservationsTag) +
                            CodedOutputStream::VarintSize64(observations.size());
  grpc::Slice message(head_bytes + observations.size());
  // A small slice holds its bytes itself: they must be there before it is copied.
  auto* out = const_cast<uint8_t*>(message.begin());
  out = CodedOutputStream::WriteVarint32ToArray(kRequestTag, out);
  out = CodedOutputStream::WriteVarint64ToArray(request, out);
  out = CodedOutputStream::WriteVarint32ToArray(kObservationsTag, out);
  out = CodedOutputStream::WriteVarint64ToArray(observations.size(), out);
  if (!observations.empty()) std::memcpy(out, observations.data(), observations.size());
  return grpc::ByteBuffer(&message, 1);
}

absl::Status ReadActRequest(CodedInputStream& in, size_t bytes, v1::ActRequest& head, size_t& observation_bytes) {
  head.Clear();
  observation_bytes = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag == kOpenTag) {
      if (!ReadOpen(in, *head.mutable_open())) return Refuse("one with a broken ActOpen");
    } else if (tag == kRequestTag) {
      uint64_t request;
      if (!in.ReadVarint64(&request)) return Refuse("one whose number is cut off");
      head.set_request(request);
    } else if (tag == kObservationsTag) {
      uint32_t announced;
      if (!in.ReadVarint32(&announced) || announced != bytes - static_cast<size_t>(in.CurrentPosition())) {
        return Refuse("one whose observations are cut off, or not the last of it");
      }
      observation_bytes = announced;
      return absl::OkStatus();
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return Refuse("bytes that are none");
    }
  }
  return in.ConsumedEntireMessage() ? absl::OkStatus() : Refuse("bytes that are none");
}

}  // namespace headrace
