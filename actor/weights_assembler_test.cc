#include "actor/weights_assembler.h"

#include <vector>

#include "absl/strings/match.h"
#include "common/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"
#include "learner/weights_frames.h"

namespace headrace {
namespace {

grpc::ByteBuffer Frame(uint64_t version, uint64_t announced, const std::string& data) {
  v1::WeightsFrame frame;
  frame.mutable_header()->set_version(version);
  frame.mutable_header()->set_run_id("run");
  frame.mutable_header()->set_bytes(announced);
  frame.set_data(data);
  return ToByteBuffer(frame);
}

grpc::ByteBuffer Rest(const std::string& data) {
  v1::WeightsFrame frame;
  frame.set_data(data);
  return ToByteBuffer(frame);
}

// The error that the last of the frames is refused with.
absl::Status Refusal(const std::vector<grpc::ByteBuffer>& frames) {
  WeightsAssembler assembler("run");
  for (size_t i = 0; i + 1 < frames.size(); ++i) {
    const absl::StatusOr<bool> complete = assembler.Add(frames[i]);
    EXPECT_TRUE(complete.ok() && !*complete);
  }
  return assembler.Add(frames.back()).status();
}

TEST(WeightsAssemblerTest, PutsTogetherWhatTheLearnerFrames) {
  std::string file(3 * kWeightsFrameBytes + 17, 'w');
  for (size_t i = 0; i < file.size(); i += 1000) file[i] = static_cast<char>(i / 1000);
  v1::WeightsHeader header;
  header.set_version(9);
  header.set_run_id("run");
  header.set_env_steps(4000);
  WeightsAssembler assembler("run");
  for (int version = 0; version < 2; ++version) {  // one after the other
    size_t complete = 0;
    for (const grpc::ByteBuffer& frame : FrameWeights(header, file)) complete += *assembler.Add(frame);
    ASSERT_EQ(complete, 1);
    const std::shared_ptr<const Weights> weights = assembler.Take();
    EXPECT_EQ(weights->version, 9);
    EXPECT_EQ(weights->run_id, "run");
    EXPECT_EQ(weights->env_steps, 4000);
    EXPECT_TRUE(weights->safetensors == file);
  }
}

TEST(WeightsAssemblerTest, RefusesSizesThatDoNotAddUp) {
  EXPECT_EQ(Refusal({Frame(1, 10, "sixsix"), Rest("fives")}).message(),
            "version 0:1: expected 4 more of 10 bytes, got a frame of 5");
  EXPECT_EQ(Refusal({Frame(1, 10, "sixsix"), Rest("")}).message(),
            "version 0:1: expected 4 more of 10 bytes, got a frame of 0");
  EXPECT_EQ(Refusal({Frame(1, 10, "sixsix"), Frame(2, 10, "sixsix")}).message(),
            "version 0:2 begins after 6 of the 10 bytes of version 0:1");
}

TEST(WeightsAssemblerTest, RefusesAbsurdAnnouncements) {
  for (const uint64_t bytes : {uint64_t{0}, kMaxWeightsBytes + 1, UINT64_MAX}) {
    const absl::Status status = Refusal({Frame(1, bytes, "data")});
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StartsWith(status.message(), "version 0:1: expected 1 to 4294967296 bytes of weights"));
  }
}

TEST(WeightsAssemblerTest, RefusesFramesWithoutWhatIdentifiesThem) {
  EXPECT_EQ(Refusal({Rest("data")}).message(), "expected a header in the first frame of a version");
  EXPECT_EQ(Refusal({Frame(0, 4, "data")}).message(), "weights without a version");
  const grpc::Slice garbage("\xff\xff\xff garbage");
  EXPECT_EQ(Refusal({grpc::ByteBuffer(&garbage, 1)}).code(), absl::StatusCode::kDataLoss);
}

TEST(WeightsAssemblerTest, RefusesWeightsOfAnotherRun) {
  EXPECT_EQ(WeightsAssembler("other").Add(Frame(1, 4, "data")).status().message(),
            "the weights are of run run, this process belongs to run other");
  EXPECT_TRUE(*WeightsAssembler("").Add(Frame(1, 4, "data")));
}

}  // namespace
}  // namespace headrace
