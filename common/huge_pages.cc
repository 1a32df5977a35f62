#include "common/huge_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace headrace {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kPageBytes = 4096;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Less than a huge page takes small ones.
size_t MappedBytes(size_t bytes) { return RoundUp(bytes, bytes < kHugePageBytes ? kPageBytes : kHugePageBytes); }

}  // namespace

void* AllocateHugePages(size_t bytes) {
  const size_t mapped = MappedBytes(bytes);
  // The kernel aligns to small pages only: as much more is mapped as aligning takes, and given back.
  const size_t slack = bytes < kHugePageBytes ? 0 : kHugePageBytes;
  void* const memory = ::mmap(nullptr, mapped + slack, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, /*fd=*/-1, /*offset=*/0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  if (slack == 0) return memory;
  std::byte* const begin = static_cast<std::byte*>(memory);
  const size_t before = RoundUp(reinterpret_cast<uintptr_t>(begin), slack) - reinterpret_cast<uintptr_t>(begin);
  if (before > 0) ::munmap(begin, before);
  if (before < slack) ::munmap(begin + before + mapped, slack - before);
  // A kernel without huge pages refuses, and small ones do.
  (void)::madvise(begin + before, mapped, MADV_HUGEPAGE);
  return begin + before;
}

void FreeHugePages(void* memory, size_t bytes) { ::munmap(memory, MappedBytes(bytes)); }

void PopulatePages(std::span<std::byte> memory) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory.data()) / kPageBytes * kPageBytes;
  const uintptr_t end = RoundUp(reinterpret_cast<uintptr_t>(memory.data()) + memory.size(), kPageBytes);
  if (!memory.empty()) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);
}

}  // namespace headrace
