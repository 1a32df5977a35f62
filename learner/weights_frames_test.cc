#include "learner/weights_frames.h"

#include "common/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

v1::WeightsHeader Header() {
  v1::WeightsHeader header;
  header.set_version(7);
  header.set_run_id("run");
  header.set_env_steps(1000);
  return header;
}

std::string Pattern(size_t bytes) {
  std::string pattern(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<char>(i * 2654435761u >> 24);
  return pattern;
}

TEST(WeightsFramesTest, AreMessagesOfAMebibyteOfWhichTheFirstHasTheHeader) {
  const std::string file = Pattern(2 * kWeightsFrameBytes + 5);
  const std::vector<grpc::ByteBuffer> frames = FrameWeights(Header(), file);
  ASSERT_EQ(frames.size(), 3);
  std::string received;
  for (size_t i = 0; i < frames.size(); ++i) {
    v1::WeightsFrame frame;
    ASSERT_TRUE(FromByteBuffer(frames[i], frame).ok());
    EXPECT_EQ(frame.has_header(), i == 0);
    EXPECT_EQ(frame.data().size(), i < 2 ? kWeightsFrameBytes : 5);
    if (i == 0) {
      EXPECT_EQ(frame.header().version(), 7);
      EXPECT_EQ(frame.header().run_id(), "run");
      EXPECT_EQ(frame.header().env_steps(), 1000);
      EXPECT_EQ(frame.header().bytes(), file.size());
    }
    received += frame.data();
  }
  EXPECT_TRUE(received == file);
}

TEST(WeightsFramesTest, EndWithAFullFrameIfTheSizeIsAMultiple) {
  EXPECT_EQ(FrameWeights(Header(), Pattern(2 * kWeightsFrameBytes)).size(), 2);
}

TEST(WeightsFramesTest, AndTheirCopiesShareTheMemoryOfTheFile) {
  const grpc::Slice file(Pattern(kWeightsFrameBytes + 1000));
  const void* const first = file.begin();
  const void* const second = file.begin() + kWeightsFrameBytes;
  const std::vector<grpc::ByteBuffer> frames = FrameWeights(Header(), file);
  const std::vector<grpc::ByteBuffer> copies = frames;
  for (const std::vector<grpc::ByteBuffer>* version : {&frames, &copies}) {
    ASSERT_EQ(version->size(), 2);
    for (size_t i = 0; i < 2; ++i) {
      std::vector<grpc::Slice> slices;
      ASSERT_TRUE((*version)[i].Dump(&slices).ok());
      ASSERT_EQ(slices.size(), 2);  // the fields before the data, and the data
      EXPECT_EQ(slices[1].begin(), i == 0 ? first : second);
    }
  }
}

TEST(WeightsFramesTest, OutliveEachOther) {
  const std::string file = Pattern(2 * kWeightsFrameBytes);
  grpc::ByteBuffer last;
  {
    const std::vector<grpc::ByteBuffer> frames = FrameWeights(Header(), file);
    last = frames.back();
  }
  v1::WeightsFrame frame;
  ASSERT_TRUE(FromByteBuffer(last, frame).ok());
  EXPECT_TRUE(frame.data() == file.substr(kWeightsFrameBytes));
}

}  // namespace
}  // namespace headrace
