// The readers of the data path's messages: whatever arrives, in whatever slices, is read alike or refused alike.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "common/check.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "replay/wire.h"

namespace headrace {
namespace {

constexpr std::array<size_t, 3> kBlockBytes = {300, 100, 5};

grpc::ByteBuffer InSlices(const std::string& bytes, size_t slice_bytes) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += slice_bytes) {
    slices.emplace_back(bytes.data() + at, std::min(slice_bytes, bytes.size() - at));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

// What was read, in words.
std::string ReadInsert(grpc::ByteBuffer message) {
  grpc::ProtoBufferReader reader(&message);
  google::protobuf::io::CodedInputStream in(&reader);
  v1::InsertRequest head;
  size_t payload_bytes;
  const absl::Status status = ReadInsertRequest(in, message.Length(), head, payload_bytes);
  HEADRACE_CHECK(payload_bytes <= message.Length());
  return status.ok() ? head.SerializeAsString() + std::to_string(payload_bytes) : status.ToString();
}

std::string ReadSample(const grpc::ByteBuffer& message) {
  // Each of exactly its size, so that a step beyond it is seen.
  std::vector<std::vector<std::byte>> blocks;
  for (const size_t bytes : kBlockBytes) blocks.emplace_back(bytes);
  v1::SampleResponse head;
  const absl::Status status =
      ReadSampleResponse(message, head, std::vector<std::span<std::byte>>(blocks.begin(), blocks.end()));
  if (!status.ok()) return status.ToString();
  std::string read = head.SerializeAsString() + std::to_string(PeekRequest(message));
  for (const std::vector<std::byte>& block : blocks) {
    read.append(reinterpret_cast<const char*>(block.data()), block.size());
  }
  return read;
}

}  // namespace
}  // namespace headrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const grpc::ByteBuffer whole = InSlices(bytes, std::max<size_t>(size, 1));
  const grpc::ByteBuffer pieces = InSlices(bytes, 7);
  HEADRACE_CHECK(ReadInsert(whole) == ReadInsert(pieces));
  HEADRACE_CHECK(ReadSample(whole) == ReadSample(pieces));
  return 0;
}
