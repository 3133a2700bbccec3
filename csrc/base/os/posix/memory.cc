// Anonymous mappings.
#include "base/os/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace t5g::os {
namespace {

std::byte* map(size_t size_bytes, int protection) {
  void* pages = ::mmap(nullptr, size_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : static_cast<std::byte*>(pages);
}

}  // namespace

size_t page_bytes() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

uint64_t machine_bytes() {
  const long n_pages = ::sysconf(_SC_PHYS_PAGES);
  return n_pages > 0 ? static_cast<uint64_t>(n_pages) * page_bytes() : 0;
}

std::byte* allocate_pages(size_t size_bytes) { return map(size_bytes, PROT_READ | PROT_WRITE); }

void free_pages(std::byte* pages, size_t size_bytes) noexcept { ::munmap(pages, size_bytes); }

void prefer_huge_pages([[maybe_unused]] std::byte* pages, [[maybe_unused]] size_t size_bytes) noexcept {
#ifdef MADV_HUGEPAGE
  ::madvise(pages, size_bytes, MADV_HUGEPAGE);
#endif
}

std::byte* reserve_pages(size_t size_bytes) { return map(size_bytes, PROT_NONE); }

bool commit_pages(std::byte* reserved, size_t size_bytes) {
  return ::mprotect(reserved, size_bytes, PROT_READ | PROT_WRITE) == 0;
}

void discard_pages(std::byte* pages, size_t size_bytes) noexcept { ::madvise(pages, size_bytes, MADV_DONTNEED); }

void zero_pages([[maybe_unused]] std::byte* pages, [[maybe_unused]] size_t size_bytes) noexcept {
#ifdef __linux__  // elsewhere MADV_DONTNEED leaves what was there, or means nothing
  ::madvise(pages, size_bytes, MADV_DONTNEED);
#endif
}

std::byte* allocate_aligned(size_t size_bytes) {
  constexpr size_t kLine = 64;
  void* memory = nullptr;
  return ::posix_memalign(&memory, kLine, size_bytes) == 0 ? static_cast<std::byte*>(memory) : nullptr;
}

void free_aligned(std::byte* memory) noexcept { std::free(memory); }

}  // namespace t5g::os
