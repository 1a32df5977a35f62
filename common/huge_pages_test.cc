#include "common/huge_pages.h"

#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include "gtest/gtest.h"

namespace headrace {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

TEST(HugePagesTest, AVectorGrowsAndKeepsItsNumbers) {
  std::vector<uint32_t, HugePageAllocator<uint32_t>> numbers;
  constexpr uint32_t kCount = 3'000'000;  // from one small page to several huge ones
  for (uint32_t i = 0; i < kCount; ++i) numbers.push_back(i);
  for (uint32_t i = 0; i < kCount; ++i) ASSERT_EQ(numbers[i], i);
}

TEST(HugePagesTest, LargeBlocksAreZeroAndBeginOnAHugePage) {
  for (const size_t bytes : {kHugePage, kHugePage + 1, 5 * kHugePage - 1}) {
    std::byte* const memory = static_cast<std::byte*>(AllocateHugePages(bytes));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % kHugePage, 0u);
    for (size_t i = 0; i < bytes; i += 1000) ASSERT_EQ(memory[i], std::byte{0});
    memory[bytes - 1] = std::byte{1};
    FreeHugePages(memory, bytes);
  }
}

TEST(HugePagesTest, PopulatingChangesNothing) {
  constexpr size_t kBytes = 4 * kHugePage;
  std::byte* const memory = static_cast<std::byte*>(AllocateHugePages(kBytes));
  memory[kHugePage + 5] = std::byte{7};
  PopulatePages({memory + 100, kBytes - 200});
  PopulatePages({});
  for (size_t i = 0; i < kBytes; ++i)
    ASSERT_EQ(memory[i], std::byte{i == kHugePage + 5 ? uint8_t{7} : uint8_t{0}}) << i;
  FreeHugePages(memory, kBytes);
}

TEST(HugePagesTest, ThrowsWhereThereIsNoSpace) {
  EXPECT_THROW(AllocateHugePages(std::numeric_limits<size_t>::max() / 2), std::bad_alloc);
}

}  // namespace
}  // namespace headrace
