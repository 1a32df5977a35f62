// Memory for large arrays that are read at random places: on pages of 2 MiB where the kernel offers them, because with
// those of 4 KiB most such reads miss the TLB first.
//
//   std::vector<Item, HugePageAllocator<Item>> items;
//   items.reserve(capacity);  // takes address space; memory is taken as it is first written
#ifndef HEADRACE_COMMON_HUGE_PAGES_H_
#define HEADRACE_COMMON_HUGE_PAGES_H_

#include <cstddef>
#include <span>

namespace headrace {

// Zeroed. Throws std::bad_alloc where there is no address space for so much.
void* AllocateHugePages(size_t bytes);
void FreeHugePages(void* memory, size_t bytes);
// Takes the memory of such pages before it is written, if the kernel can (Linux 5.14): who writes first would wait for
// it. What is there stays.
void PopulatePages(std::span<std::byte> memory);

template <typename T>
class HugePageAllocator {
 public:
  using value_type = T;

  HugePageAllocator() = default;
  template <typename U>
  HugePageAllocator(const HugePageAllocator<U>&) {}  // NOLINT(google-explicit-constructor): the standard asks for it

  T* allocate(size_t count) { return static_cast<T*>(AllocateHugePages(count * sizeof(T))); }
  void deallocate(T* memory, size_t count) { FreeHugePages(memory, count * sizeof(T)); }
  bool operator==(const HugePageAllocator&) const { return true; }
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_HUGE_PAGES_H_
