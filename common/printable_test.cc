#include "common/printable.h"

#include "gtest/gtest.h"

namespace headrace {
namespace {

TEST(PrintableTest, LeavesUtf8AsItIs) {
  for (const char* const text : {"", "plain", "gr\xc3\xbc\xc3\x9f", "\xe2\x82\xac", "\xf0\x9f\x9a\x80 end"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(PrintableTest, WritesOtherBytesAsNumbers) {
  EXPECT_EQ(Printable("caf\xe9!"), "caf\\xe9!");                     // Latin-1
  EXPECT_EQ(Printable("\xc3"), "\\xc3");                             // cut off in a character
  EXPECT_EQ(Printable("\xc0\x80"), "\\xc0\\x80");                    // longer than it need be
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // half of a pair
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond the last character
}

TEST(PrintableTest, CutsOffBetweenCharacters) {
  EXPECT_EQ(Printable("abcdef", 4), "abcd (cut off)");
  EXPECT_EQ(Printable("abc\xc3\xbc", 4), "abc (cut off)");
  EXPECT_EQ(Printable("abcd", 4), "abcd");
}

}  // namespace
}  // namespace headrace
