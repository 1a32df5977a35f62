#include "common/crc32c.h"

#include <string>

#include "gtest/gtest.h"

namespace headrace {
namespace {

// Known answers of RFC 3720, appendix B.4, and of the check string that every catalogue of checksums lists.
TEST(Crc32cTest, GivesTheKnownAnswers) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  std::string ascending;
  for (char c = 0; c < 32; ++c) ascending.push_back(c);
  EXPECT_EQ(Crc32c(ascending), 0x46DD794Eu);
}

}  // namespace
}  // namespace headrace
