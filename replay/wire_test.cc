// What is framed by hand is what protobuf would write, and bytes from anywhere are read without harm.
#include "replay/wire.h"

#include <cstring>
#include <string>

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using google::protobuf::io::CodedInputStream;

v1::ChunkHeader TestHeader() {
  v1::ChunkHeader header;
  header.set_sequence(300);
  for (uint32_t lane = 0; lane < 3; ++lane) {
    v1::Segment& segment = *header.add_segments();
    segment.set_lane(lane);
    segment.set_first_row(1000 * lane);
    segment.set_rows(20);
    segment.set_episode_start(lane == 1);
    v1::ItemRun& run = *header.add_items();
    run.set_lane(lane);
    run.set_count(19);
  }
  return header;
}

std::string TestPayload(size_t bytes) {
  std::string payload(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) payload[i] = static_cast<char>(i * 7);
  return payload;
}

std::string InsertBytes(const v1::ChunkHeader& header, const std::string& payload) {
  const InsertMessage message = BeginInsertRequest(header, payload.size());
  std::memcpy(message.payload, payload.data(), payload.size());
  return std::string(reinterpret_cast<const char*>(message.message.begin()), message.message.size());
}

struct InsertRead {
  absl::Status status;
  v1::InsertRequest head;
  size_t payload_bytes = 0;
  std::string payload;
};

// From memory of exactly the message's size, so that a sanitizer sees every step beyond it.
InsertRead ReadInsert(const std::string& bytes) {
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  CodedInputStream in(exact.data(), static_cast<int>(exact.size()));
  InsertRead read;
  read.status = ReadInsertRequest(in, exact.size(), read.head, read.payload_bytes);
  if (read.status.ok()) {
    in.ReadString(&read.payload, static_cast<int>(read.payload_bytes));
  }
  return read;
}

// In slices of `slice_bytes`, as a network delivers it.
grpc::ByteBuffer Buffer(const std::string& bytes, size_t slice_bytes = SIZE_MAX) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += slice_bytes) {
    slices.emplace_back(bytes.data() + at, std::min(slice_bytes, bytes.size() - at));
    if (slice_bytes == SIZE_MAX) break;
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

TEST(Wire, PayloadsStayInsideTheSmallestMessageWhenItIsMoved) {
  const auto holds = [](const grpc::Slice& message, const std::byte* payload) {
    const auto* begin = reinterpret_cast<const std::byte*>(message.begin());
    return payload >= begin && payload < begin + message.size();
  };
  InsertMessage insert = BeginInsertRequest(v1::ChunkHeader(), 1);
  const grpc::Slice inserted = std::move(insert.message);
  EXPECT_TRUE(holds(inserted, insert.payload));
  SampleMessage sample = BeginSampleResponse(v1::SampleResponse(), std::vector<FrameSpec>{{0, 0, 1}});
  const grpc::Slice sampled = std::move(sample.message);
  EXPECT_TRUE(holds(sampled, sample.payloads[0]));
}

TEST(InsertWireTest, IsTheMessageThatProtobufReads) {
  for (const size_t size : {0, 1, 127, 128, 20000}) {
    v1::InsertRequest request;
    ASSERT_TRUE(request.ParseFromString(InsertBytes(TestHeader(), TestPayload(size))));
    EXPECT_EQ(request.chunk().SerializeAsString(), TestHeader().SerializeAsString());
    EXPECT_EQ(request.data(), TestPayload(size));
  }
}

TEST(InsertWireTest, ReadsTheMessageThatProtobufWrites) {
  v1::InsertRequest request;
  *request.mutable_chunk() = TestHeader();
  request.set_data(TestPayload(5000));
  const InsertRead read = ReadInsert(request.SerializeAsString());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.head.chunk().SerializeAsString(), TestHeader().SerializeAsString());
  EXPECT_EQ(read.payload, TestPayload(5000));

  v1::InsertRequest open;
  open.mutable_open()->set_writer(17);
  open.mutable_open()->set_table("t");
  const InsertRead opened = ReadInsert(open.SerializeAsString());
  ASSERT_TRUE(opened.status.ok());
  EXPECT_EQ(opened.head.open().writer(), 17u);
  EXPECT_EQ(opened.payload_bytes, 0u);
}

// A header that was cut off where a field ends passed as a whole one.
TEST(InsertWireTest, NeverTakesAPartForTheWhole) {
  const std::string bytes = InsertBytes(TestHeader(), TestPayload(100));
  for (size_t size = 1; size < bytes.size(); ++size) {
    const InsertRead read = ReadInsert(bytes.substr(0, size));
    const bool whole = read.status.ok() && read.payload == TestPayload(100);
    EXPECT_FALSE(whole) << size;
    EXPECT_EQ(read.payload.size(), read.payload_bytes) << size;
    if (read.status.ok() && read.payload_bytes == 0) {
      EXPECT_EQ(read.head.chunk().SerializeAsString(), TestHeader().SerializeAsString()) << size;
    }
  }
}

TEST(InsertWireTest, SurvivesFlippedBits) {
  const std::string bytes = InsertBytes(TestHeader(), TestPayload(50));
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    ReadInsert(damaged);
  }
}

TEST(InsertWireTest, RefusesLengthsThatDoNotFit) {
  // Field 2 with a length of 2^31 and of 2^32-1.
  EXPECT_FALSE(ReadInsert("\x12\x80\x80\x80\x80\x08").status.ok());
  EXPECT_FALSE(ReadInsert("\x12\xff\xff\xff\xff\x0f").status.ok());
  EXPECT_FALSE(ReadInsert("garbage").status.ok());
}

class SampleWireTest : public testing::Test {
 protected:
  SampleWireTest() {
    head_.set_request(7);
    head_.set_last(true);
    head_.mutable_state()->set_items(12);
    for (uint64_t key = 0; key < 9; ++key) head_.add_keys(key);
    const std::vector<FrameSpec> frames = {{0, 0, 300}, {1, 40, 60}, {2, 5, 0}};
    const SampleMessage sample = BeginSampleResponse(head_, frames);
    for (size_t i = 0; i < frames.size(); ++i) {
      const std::string payload = TestPayload(frames[i].bytes);
      std::memcpy(sample.payloads[i], payload.data(), payload.size());
    }
    bytes_ = std::string(reinterpret_cast<const char*>(sample.message.begin()), sample.message.size());
  }

  // Into blocks of 300, 100 and 5 bytes.
  absl::Status Read(const std::string& bytes, v1::SampleResponse& head, size_t slice_bytes = SIZE_MAX) {
    blocks_ = {std::vector<std::byte>(300), std::vector<std::byte>(100), std::vector<std::byte>(5)};
    const std::vector<std::span<std::byte>> spans(blocks_.begin(), blocks_.end());
    return ReadSampleResponse(Buffer(bytes, slice_bytes), head, spans);
  }

  v1::SampleResponse head_;
  std::string bytes_;
  std::vector<std::vector<std::byte>> blocks_;
};

TEST_F(SampleWireTest, IsTheMessageThatProtobufReads) {
  v1::SampleResponse response;
  ASSERT_TRUE(response.ParseFromString(bytes_));
  ASSERT_EQ(response.frames_size(), 3);
  EXPECT_EQ(response.frames(0).data(), TestPayload(300));
  EXPECT_EQ(response.frames(1).slice(), 1u);
  EXPECT_EQ(response.frames(1).offset(), 40u);
  EXPECT_EQ(response.frames(1).data(), TestPayload(60));
  response.clear_frames();
  EXPECT_EQ(response.SerializeAsString(), head_.SerializeAsString());
}

TEST_F(SampleWireTest, CopiesFramesToTheirPlacesHoweverTheyAreSliced) {
  for (const size_t slice_bytes : {size_t{1}, size_t{3}, size_t{64}, SIZE_MAX}) {
    v1::SampleResponse head;
    ASSERT_TRUE(Read(bytes_, head, slice_bytes).ok());
    EXPECT_EQ(head.SerializeAsString(), head_.SerializeAsString());
    EXPECT_EQ(std::memcmp(blocks_[0].data(), TestPayload(300).data(), 300), 0);
    EXPECT_EQ(blocks_[1][39], std::byte{0});
    EXPECT_EQ(std::memcmp(blocks_[1].data() + 40, TestPayload(60).data(), 60), 0);
    EXPECT_EQ(PeekRequest(Buffer(bytes_, slice_bytes)), 7u);
  }
}

TEST_F(SampleWireTest, ReadsTheMessageThatProtobufWrites) {
  v1::SampleResponse response = head_;
  v1::Frame& frame = *response.add_frames();
  frame.set_slice(1);
  frame.set_offset(99);
  frame.set_data("x");
  v1::SampleResponse head;
  ASSERT_TRUE(Read(response.SerializeAsString(), head).ok());
  EXPECT_EQ(blocks_[1][99], std::byte{'x'});
}

TEST_F(SampleWireTest, RefusesFramesOutsideTheirBlocks) {
  struct Case {
    uint32_t slice;
    uint64_t offset;
    size_t bytes;
  };
  for (const Case& c : {Case{3, 0, 1}, Case{0, 300, 1}, Case{1, 99, 2}, Case{1, UINT64_MAX, 1}, Case{2, 0, 6},
                        Case{UINT32_MAX, 0, 1}}) {
    v1::SampleResponse response;
    v1::Frame& frame = *response.add_frames();
    frame.set_slice(c.slice);
    frame.set_offset(c.offset);
    frame.set_data(std::string(c.bytes, 'x'));
    v1::SampleResponse head;
    EXPECT_TRUE(absl::IsInvalidArgument(Read(response.SerializeAsString(), head))) << c.slice << " " << c.offset;
  }
}

TEST_F(SampleWireTest, RefusesMessagesThatAreCutOffWithinAField) {
  size_t refused = 0;
  for (size_t size = 0; size < bytes_.size(); ++size) {
    v1::SampleResponse head;
    refused += Read(bytes_.substr(0, size), head).ok() ? 0 : 1;
    PeekRequest(Buffer(bytes_.substr(0, size)));
  }
  // Between two fields of the outermost message a cut cannot be seen: request, last, keys, state and two frames.
  EXPECT_EQ(refused, bytes_.size() - 7);
}

TEST_F(SampleWireTest, SurvivesFlippedBits) {
  for (size_t bit = 0; bit < 8 * bytes_.size(); ++bit) {
    std::string damaged = bytes_;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    v1::SampleResponse head;
    Read(damaged, head).IgnoreError();
    PeekRequest(Buffer(damaged));
  }
}

TEST_F(SampleWireTest, SurvivesRandomBytes) {
  RandomStream random(1, StreamRole::kTest, 0, StreamPurpose::kSampling);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(random.Below(40), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    v1::SampleResponse head;
    Read(bytes, head).IgnoreError();
    ReadInsert(bytes);
  }
}

}  // namespace
}  // namespace headrace
