#include "replay/wire.h"

#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "google/protobuf/wire_format_lite.h"
#include "grpc/slice.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "replay/cell.h"

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
constexpr uint32_t kFrameCellsTag = VarintTag(v1::Frame::kCellsFieldNumber);
constexpr uint32_t kFrameCellBytesTag = VarintTag(v1::Frame::kCellBytesFieldNumber);
constexpr uint32_t kFrameDataTag = LengthTag(v1::Frame::kDataFieldNumber);

size_t VarintBytes(uint64_t value) { return CodedOutputStream::VarintSize64(value); }

uint8_t* WriteVarint(uint64_t value, uint8_t* out) { return CodedOutputStream::WriteVarint64ToArray(value, out); }

// The fields of a frame before its bytes.
size_t FrameHeadBytes(const FrameSpec& frame) {
  const size_t cells = frame.cells == 0 ? 0
                                        : VarintBytes(kFrameCellsTag) + VarintBytes(frame.cells) +
                                              VarintBytes(kFrameCellBytesTag) + VarintBytes(frame.cell_bytes);
  return VarintBytes(kFrameSliceTag) + VarintBytes(frame.slice) + VarintBytes(kFrameOffsetTag) +
         VarintBytes(frame.offset) + cells + VarintBytes(kFrameDataTag) + VarintBytes(frame.bytes);
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

// Where a frame belongs, and what it has.
struct FrameHead {
  uint32_t slice = 0;
  uint64_t offset = 0;
  uint32_t cells = 0;
  uint32_t cell_bytes = 0;
};

absl::Status InflateFrame(const std::string& data, const FrameHead& frame, std::span<std::byte> target) {
  const auto broken = [] { return absl::DataLossError("a frame's cells cannot be inflated"); };
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data));
  size_t at = frame.cells * sizeof(uint32_t);
  if (at > bytes.size()) return broken();
  for (size_t cell = 0; cell < frame.cells; ++cell) {
    uint32_t size;
    std::memcpy(&size, bytes.data() + cell * sizeof(size), sizeof(size));
    if (size > bytes.size() - at) return broken();
    if (!Inflate(bytes.subspan(at, size), target.subspan(cell * frame.cell_bytes, frame.cell_bytes))) return broken();
    at += size;
  }
  return at == bytes.size() ? absl::OkStatus() : broken();
}

absl::Status ReadFrameData(CodedInputStream& in, const FrameHead& frame, std::span<const std::span<std::byte>> blocks) {
  const auto refuse = [](const char* what) { return absl::InvalidArgumentError(what); };
  uint32_t bytes;
  if (!in.ReadVarint32(&bytes)) return refuse("a frame's size is cut off");
  const uint64_t needed = frame.cells == 0 ? bytes : uint64_t{frame.cells} * frame.cell_bytes;
  if (bytes > INT_MAX || frame.slice >= blocks.size() || frame.offset > blocks[frame.slice].size() ||
      needed > blocks[frame.slice].size() - frame.offset) {
    return refuse("a frame lies outside its block");
  }
  const std::span<std::byte> target = blocks[frame.slice].subspan(frame.offset, needed);
  if (frame.cells == 0) {
    return in.ReadRaw(target.data(), static_cast<int>(bytes)) ? absl::OkStatus() : refuse("a frame is cut off");
  }
  std::string data;
  if (!in.ReadString(&data, static_cast<int>(bytes))) return refuse("a frame is cut off");
  return InflateFrame(data, frame, target);
}

absl::Status ReadFrame(CodedInputStream& in, std::span<const std::span<std::byte>> blocks) {
  const auto refuse = [](const char* what) { return absl::InvalidArgumentError(what); };
  CodedInputStream::Limit limit;
  if (!BeginMessage(in, limit)) return refuse("a frame without a length");
  FrameHead frame;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag == kFrameSliceTag) {
      if (!in.ReadVarint32(&frame.slice)) return refuse("a frame's slice is cut off");
    } else if (tag == kFrameOffsetTag) {
      if (!in.ReadVarint64(&frame.offset)) return refuse("a frame's offset is cut off");
    } else if (tag == kFrameCellsTag) {
      if (!in.ReadVarint32(&frame.cells)) return refuse("a frame's number of cells is cut off");
    } else if (tag == kFrameCellBytesTag) {
      if (!in.ReadVarint32(&frame.cell_bytes)) return refuse("a frame's cells' size is cut off");
    } else if (tag == kFrameDataTag) {
      if (absl::Status status = ReadFrameData(in, frame, blocks); !status.ok()) return status;
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
    if (frame.cells > 0) {
      out = WriteVarint(kFrameCellsTag, out);
      out = WriteVarint(frame.cells, out);
      out = WriteVarint(kFrameCellBytesTag, out);
      out = WriteVarint(frame.cell_bytes, out);
    }
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
