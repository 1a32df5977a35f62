// Requests for actions: whatever arrives, in whatever slices, is read alike or refused alike, and what is read is what
// a protobuf parser reads.
#include <algorithm>
#include <string>
#include <vector>

#include "common/act_wire.h"
#include "common/check.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace headrace {
namespace {

grpc::ByteBuffer InSlices(const std::string& bytes, size_t slice_bytes) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += slice_bytes) {
    slices.emplace_back(bytes.data() + at, std::min(slice_bytes, bytes.size() - at));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::Status Read(grpc::ByteBuffer message, v1::ActRequest& request) {
  grpc::ProtoBufferReader reader(&message);
  google::protobuf::io::CodedInputStream in(&reader);
  size_t bytes = 0;
  const absl::Status status = ReadActRequest(in, message.Length(), request, bytes);
  if (!status.ok()) return status;
  std::string observations(bytes, '\0');
  HEADRACE_CHECK(in.ReadRaw(observations.data(), static_cast<int>(bytes)));
  request.set_observations(observations);
  return status;
}

}  // namespace
}  // namespace headrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  v1::ActRequest whole, pieces, parsed;
  const absl::Status status = Read(InSlices(bytes, std::max<size_t>(size, 1)), whole);
  HEADRACE_CHECK(status == Read(InSlices(bytes, 7), pieces));
  if (!status.ok()) return 0;
  HEADRACE_CHECK(whole.SerializeAsString() == pieces.SerializeAsString());
  HEADRACE_CHECK(parsed.ParseFromString(bytes));
  HEADRACE_CHECK(parsed.request() == whole.request() && parsed.observations() == whole.observations());
  return 0;
}
