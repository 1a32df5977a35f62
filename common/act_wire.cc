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
constexpr uint32_t kStateTag =
    WireFormatLite::MakeTag(v1::ActRequest::kRecurrentStateFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
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

size_t FieldBytes(uint32_t tag, std::span<const std::byte> bytes) {
  return CodedOutputStream::VarintSize32(tag) + CodedOutputStream::VarintSize64(bytes.size()) + bytes.size();
}

uint8_t* WriteField(uint32_t tag, std::span<const std::byte> bytes, uint8_t* out) {
  out = CodedOutputStream::WriteVarint32ToArray(tag, out);
  out = CodedOutputStream::WriteVarint64ToArray(bytes.size(), out);
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

}  // namespace

grpc::ByteBuffer MakeActRequest(uint64_t request, std::span<const std::byte> observations,
                                std::span<const std::byte> recurrent_state) {
  const size_t state_bytes = recurrent_state.empty() ? 0 : FieldBytes(kStateTag, recurrent_state);
  grpc::Slice message(CodedOutputStream::VarintSize32(kRequestTag) + CodedOutputStream::VarintSize64(request) +
                      state_bytes + FieldBytes(kObservationsTag, observations));
  // A small slice holds its bytes itself: they must be there before it is copied.
  auto* out = const_cast<uint8_t*>(message.begin());
  out = CodedOutputStream::WriteVarint32ToArray(kRequestTag, out);
  out = CodedOutputStream::WriteVarint64ToArray(request, out);
  if (state_bytes > 0) out = WriteField(kStateTag, recurrent_state, out);
  WriteField(kObservationsTag, observations, out);
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
    } else if (tag == kStateTag) {
      uint32_t length;
      if (!in.ReadVarint32(&length) || length > bytes - static_cast<size_t>(in.CurrentPosition()) ||
          !in.ReadString(head.mutable_recurrent_state(), static_cast<int>(length))) {
        return Refuse("one whose recurrent state is cut off");
      }
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
