#include "common/occasionally.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(OccasionallyTest, TellsAtOnceThenOnceInAnInterval) {
  const Occasionally::Time begin = std::chrono::steady_clock::now();
  const auto after = [begin](int seconds) { return begin + std::chrono::seconds(seconds); };
  Occasionally failures(std::chrono::seconds(10));
  EXPECT_EQ(failures.Count(0, begin), 0u);
  EXPECT_EQ(failures.Count(2, begin), 2u);
  EXPECT_EQ(failures.Count(1, after(1)), 0u);
  EXPECT_EQ(failures.Count(3, after(9)), 0u);
  EXPECT_EQ(failures.Count(1, after(10)), 5u);
  EXPECT_EQ(failures.Count(0, after(30)), 0u) << "it has not happened since";
  EXPECT_EQ(failures.Count(1, after(31)), 1u);
}

}  // namespace
}  // namespace headrace
