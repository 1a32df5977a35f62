#include "learner/weights_message.h"

#include <vector>

#include "common/byte_buffer.h"
#include "gtest/gtest.h"
#include "proto/gradient.pb.h"

namespace headrace {
namespace {

TEST(WeightsMessageTest, IsReadAsTheMessageWithItsBytes) {
  for (const size_t size : {0, 1, 127, 128, 100'000}) {
    v1::PushResponse fields;
    fields.set_number(7);
    fields.set_verdict(v1::STALE);
    const std::string weights(size, 'w');
    v1::PushResponse response;
    ASSERT_TRUE(
        FromByteBuffer(WithBytes(fields, v1::PushResponse::kWeightsFieldNumber, ToSlice(weights)), response).ok());
    EXPECT_EQ(response.number(), 7);
    EXPECT_EQ(response.verdict(), v1::STALE);
    EXPECT_EQ(response.weights(), weights);
  }
}

TEST(WeightsMessageTest, RefersToTheMemoryOfTheString) {
  std::string weights(100'000, 'w');
  const void* const memory = weights.data();
  const grpc::Slice slice = ToSlice(std::move(weights));
  for (const uint64_t number : {1, 2}) {
    v1::PushResponse fields;
    fields.set_number(number);
    std::vector<grpc::Slice> slices;
    ASSERT_TRUE(WithBytes(fields, v1::PushResponse::kWeightsFieldNumber, slice).Dump(&slices).ok());
    ASSERT_EQ(slices.size(), 2u);  // the fields before the weights, and the weights
    EXPECT_EQ(slices[1].begin(), memory);
  }
}

TEST(WeightsMessageTest, OutlivesTheSlice) {
  grpc::ByteBuffer message;
  {
    const grpc::Slice slice = ToSlice(std::string(100'000, 'w'));
    message = WithBytes(v1::PushResponse(), v1::PushResponse::kWeightsFieldNumber, slice);
  }
  v1::PushResponse response;
  ASSERT_TRUE(FromByteBuffer(message, response).ok());
  EXPECT_EQ(response.weights(), std::string(100'000, 'w'));
}

}  // namespace
}  // namespace headrace
