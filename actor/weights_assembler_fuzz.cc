// Frames of weights, each behind a byte that says its length: what is complete is what was sent.
#include <algorithm>
#include <string>

#include "actor/weights_assembler.h"
#include "common/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace headrace;
  WeightsAssembler assembler("run");
  std::string sent;  // since the last version was complete
  const uint8_t* const end = data + size;
  while (data < end) {
    const size_t bytes = std::min<size_t>(data[0], end - data - 1);
    const grpc::Slice slice(data + 1, bytes);
    data += 1 + bytes;
    const absl::StatusOr<bool> complete = assembler.Add(grpc::ByteBuffer(&slice, 1));
    if (!complete.ok()) return 0;
    v1::WeightsFrame frame;
    HEADRACE_CHECK(frame.ParseFromArray(slice.begin(), static_cast<int>(slice.size())));
    sent += frame.data();
    if (!*complete) continue;
    const std::shared_ptr<const Weights> weights = assembler.Take();
    HEADRACE_CHECK(weights->run_id == "run" && weights->version != 0 && weights->safetensors == sent);
    sent.clear();
  }
  return 0;
}
