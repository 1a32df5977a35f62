#include "replay/wire.h"

#include <climits>
#include <string>

#include "google/protobuf/wire_format_lite.h"
#include "grpc/slice.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace headrace {
namespace {

using google::protobuf::MessageLite;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t LengthTag(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}
constexpr uint32_t VarintTag(int field) { return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT); }

constexpr uint32_t kOpenTag = LengthTag(v1::InsertRequest::kOpenFieldNumber);
constexpr uint32_t kChunkTag = LengthTag(v1::InsertRequest::kChunkFieldNumber);
constexpr uint32_t kDataTag = LengthTag(v1::InsertRequest::kDataFieldNumber);
constexpr uint32_t kRequestTag = VarintTag(v1::SampleResponse::kRequestFieldNumber);
constexpr uint32_t kFramesTag = LengthTag(v1::SampleResponse::kFramesFieldNumber);
constexpr uint32_t kFrameSliceTag = VarintTag(v1::Frame::kSliceFieldNumber);
constexpr uint32_t kFrameOffsetTag = VarintTag(v1::Frame::kOffsetFieldNumber);
constexpr uint32_t kFrameDataTag = LengthTag(v1::Frame::kDataFieldNumber);

size_t VarintBytes(uint64_t value) { return CodedOutputStream::VarintSize64(value); }

uint8_t* WriteVarint(uint64_t value, uint8_t* out) { return CodedOutputStream::WriteVarint64ToArray(value, out); }

// The fields of a frame before its bytes.
size_t FrameHeadBytes(const FrameSpec& frame) {
  return VarintBytes(kFrameSliceTag) + VarintBytes(frame.slice) + VarintBytes(kFrameOffsetTag) +
         VarintBytes(frame.offset) + VarintBytes(kFrameDataTag) + VarintBytes(frame.bytes);
}

// Reads a length and limits `in` to so many bytes. CodedInputStream takes lengths as int, and keeps silent about those
// that do not fit.
bool BeginMessage(CodedInputStream& in, CodedInputStream::Limit& limit) {
  uint32_t length;
  if (!in.ReadVarint32(&length) || length > INT_MAX) return false;
  limit = in.PushLimit(static_cast<int>(length));
  return in.BytesUntilLimit() == static_cast<int>(length);
}

// A message that is cut off where a field ends looks complete, but does not reach its limit.
bool EndMessage(CodedInputStream& in, CodedInputStream::Limit limit) {
  if (!in.ConsumedEntireMessage() || in.BytesUntilLimit() != 0) return false;
  in.PopLimit(limit);
  return true;
}

bool ReadMessage(CodedInputStream& in, MessageLite& message) {
  CodedInputStream::Limit limit;
  return BeginMessage(in, limit) && message.MergeFromCodedStream(&in) && EndMessage(in, limit);
}

absl::Status ReadFrame(CodedInputStream& in, std::span<const std::span<std::byte>> blocks) {
  const auto refuse = [](const char* what) { return absl::InvalidArgumentError(what); };
  CodedInputStream::Limit limit;
  if (!BeginMessage(in, limit)) return refuse("a frame without a length");
  uint32_t slice = 0;
  uint64_t offset = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag == kFrameSliceTag) {
      if (!in.ReadVarint32(&slice)) return refuse("a frame's slice is cut off");
    } else if (tag == kFrameOffsetTag) {
      if (!in.ReadVarint64(&offset)) return refuse("a frame's offset is cut off");
    } else if (tag == kFrameDataTag) {
      uint32_t bytes;
      if (!in.ReadVarint32(&bytes)) return refuse("a frame's size is cut off");
      if (bytes > INT_MAX || slice >= blocks.size() || offset > blocks[slice].size() ||
          bytes > blocks[slice].size() - offset) {
        return refuse("a frame lies outside its block");
      }
      if (!in.ReadRaw(blocks[slice].data() + offset, static_cast<int>(bytes))) return refuse("a frame is cut off");
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return refuse("a frame with a broken field");
    }
  }
  return EndMessage(in, limit) ? absl::OkStatus() : refuse("a frame is cut off");
}

// A slice whose bytes stay where they are when it is moved: a small grpc::Slice(bytes) holds them itself.
grpc::Slice AllocateMessage(size_t bytes) {
  return grpc::Slice(grpc_slice_malloc_large(bytes), grpc::Slice::STEAL_REF);
}

}  // namespace

InsertMessage BeginInsertRequest(const v1::ChunkHeader& chunk, size_t payload_bytes) {
  const size_t chunk_bytes = chunk.ByteSizeLong();
  const size_t head_bytes = VarintBytes(kChunkTag) + VarintBytes(chunk_bytes) + chunk_bytes + VarintBytes(kDataTag) +
                            VarintBytes(payload_bytes);
  grpc::Slice message = AllocateMessage(head_bytes + payload_bytes);
  uint8_t* out = const_cast<uint8_t*>(message.begin());
  out = WriteVarint(kChunkTag, out);
  out = WriteVarint(chunk_bytes, out);
  out = chunk.SerializeWithCachedSizesToArray(out);
  out = WriteVarint(kDataTag, out);
  out = WriteVarint(payload_bytes, out);
  return {std::move(message), reinterpret_cast<std::byte*>(out)};
}

absl::Status ReadInsertRequest(CodedInputStream& in, size_t bytes, v1::InsertRequest& head, size_t& payload_bytes) {
  head.Clear();
  payload_bytes = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag == kOpenTag) {
      if (!ReadMessage(in, *head.mutable_open())) return absl::InvalidArgumentError("a broken InsertOpen");
    } else if (tag == kChunkTag) {
      if (!ReadMessage(in, *head.mutable_chunk())) return absl::InvalidArgumentError("a broken ChunkHeader");
    } else if (tag == kDataTag) {
      uint32_t announced;
      if (!in.ReadVarint32(&announced) || announced > bytes - static_cast<size_t>(in.CurrentPosition())) {
        return absl::InvalidArgumentError("a chunk's payload is cut off");
      }
      payload_bytes = announced;
      return absl::OkStatus();
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return absl::InvalidArgumentError("expected an InsertRequest, got bytes that are none");
    }
  }
  if (!in.ConsumedEntireMessage())
    return absl::InvalidArgumentError("expected an InsertRequest, got bytes that are none");
  return absl::OkStatus();
}

SampleMessage BeginSampleResponse(const v1::SampleResponse& head, std::span<const FrameSpec> frames) {
  const size_t head_bytes = head.ByteSizeLong();
  size_t bytes = head_bytes;
  for (const FrameSpec& frame : frames) {
    const size_t frame_bytes = FrameHeadBytes(frame) + frame.bytes;
    bytes += VarintBytes(kFramesTag) + VarintBytes(frame_bytes) + frame_bytes;
  }
  SampleMessage sample = {AllocateMessage(bytes), {}};
  uint8_t* out = head.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(sample.message.begin()));
  for (const FrameSpec& frame : frames) {
    out = WriteVarint(kFramesTag, out);
    out = WriteVarint(FrameHeadBytes(frame) + frame.bytes, out);
    out = WriteVarint(kFrameSliceTag, out);
    out = WriteVarint(frame.slice, out);
    out = WriteVarint(kFrameOffsetTag, out);
    out = WriteVarint(frame.offset, out);
    out = WriteVarint(kFrameDataTag, out);
    out = WriteVarint(frame.bytes, out);
    sample.payloads.push_back(reinterpret_cast<std::byte*>(out));
    out += frame.bytes;
  }
  return sample;
}

absl::Status ReadSampleResponse(const grpc::ByteBuffer& message, v1::SampleResponse& head,
                                std::span<const std::span<std::byte>> blocks) {
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&message));
  CodedInputStream in(&reader);
  // Everything but frames is collected as bytes and parsed at the end: it is small.
  std::string rest;
  {
    google::protobuf::io::StringOutputStream rest_stream(&rest);
    CodedOutputStream rest_out(&rest_stream);
    while (const uint32_t tag = in.ReadTag()) {
      if (tag == kFramesTag) {
        if (absl::Status status = ReadFrame(in, blocks); !status.ok()) return status;
      } else if (!WireFormatLite::SkipField(&in, tag, &rest_out)) {
        return absl::InvalidArgumentError("expected a SampleResponse, got bytes that are none");
      }
    }
  }
  if (!in.ConsumedEntireMessage() || !head.ParseFromString(rest)) {
    return absl::InvalidArgumentError("expected a SampleResponse, got bytes that are none");
  }
  return absl::OkStatus();
}

uint64_t PeekRequest(const grpc::ByteBuffer& message) {
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&message));
  CodedInputStream in(&reader);
  uint64_t request = 0;
  if (in.ReadTag() != kRequestTag || !in.ReadVarint64(&request)) return 0;
  return request;
}

}  // namespace headrace
