#include "model/device.h"

#include "ATen/Context.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(ParseDeviceTest, KnowsTheProcessor) { EXPECT_TRUE(ParseDevice("cpu")->is_cpu()); }

TEST(ParseDeviceTest, RefusesOtherNames) {
  for (const char* name : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda0", "cpu:1", "cuda:1:2", "cuda:999"}) {
    EXPECT_EQ(ParseDevice(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(ParseDevice("gpu").status().message(), "device: expected \"cpu\", \"cuda\" or \"cuda:N\", got \"gpu\"");
}

TEST(ParseDeviceTest, SaysWhenTheMachineHasNoSuchDevice) {
  EXPECT_EQ(ParseDevice("cuda:63").status().code(), absl::StatusCode::kFailedPrecondition);
  if (at::hasCUDA()) {
    EXPECT_EQ(ParseDevice("cuda")->index(), 0);
  } else {
    EXPECT_EQ(ParseDevice("cuda").status().code(), absl::StatusCode::kFailedPrecondition);
  }
}

}  // namespace
}  // namespace headrace
