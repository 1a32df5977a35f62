// The messages of the data path, framed by hand around their payloads. On the wire they are the protobuf messages of
// proto/replay.proto, payload last; in memory the payload never is a message field.
#ifndef HEADRACE_REPLAY_WIRE_H_
#define HEADRACE_REPLAY_WIRE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "proto/replay.pb.h"

namespace headrace {

inline constexpr uint32_t kMaxRowsPerChunk = 1 << 16;  // and items: others wait while they are added

// A message whose payload is still to be filled in, at `payload`.
struct InsertMessage {
  grpc::Slice message;
  std::byte* payload;
};
InsertMessage BeginInsertRequest(const v1::ChunkHeader& chunk, size_t payload_bytes);

// Reads an InsertRequest of `bytes` bytes up to its payload and leaves `in` there. InvalidArgument: it is none, or has
// less than its payload.
absl::Status ReadInsertRequest(google::protobuf::io::CodedInputStream& in, size_t bytes, v1::InsertRequest& head,
                               size_t& payload_bytes);

// Part of a sampled batch: `bytes` bytes at `offset` of the block of slice `slice`.
struct FrameSpec {
  uint32_t slice;
  uint64_t offset;
  size_t bytes;
  uint32_t cells = 0;  // of a compressed column, each of so many bytes when it is inflated
  uint32_t cell_bytes = 0;
};
struct SampleMessage {
  grpc::Slice message;
  std::vector<std::byte*> payloads;  // one for each frame
};
SampleMessage BeginSampleResponse(const v1::SampleResponse& head, std::span<const FrameSpec> frames);

// Reads a SampleResponse and copies each frame to its place in `blocks`, one block for each slice, inflated where it is
// compressed; `head` gets the rest. InvalidArgument: it is none, or a frame lies outside its block. DataLoss: a frame's
// cells cannot be inflated.
absl::Status ReadSampleResponse(const grpc::ByteBuffer& message, v1::SampleResponse& head,
                                std::span<const std::span<std::byte>> blocks);

// The number of the request that a SampleResponse answers, which comes first; 0 if it is none.
uint64_t PeekRequest(const grpc::ByteBuffer& message);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_WIRE_H_
