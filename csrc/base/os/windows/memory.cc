// Windows counts memory when it is committed, and gives it page by page as it is touched.
#include "base/os/memory.h"

#include <malloc.h>

#include "base/os/windows/system.h"

namespace t5g::os {
namespace {

std::byte* or_errno(void* pages) {
  if (pages == nullptr) set_errno();
  return static_cast<std::byte*>(pages);
}

}  // namespace

size_t page_bytes() {
  SYSTEM_INFO info;
  ::GetSystemInfo(&info);
  return info.dwPageSize;
}

uint64_t machine_bytes() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  return ::GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

std::byte* allocate_pages(size_t size_bytes) {
  return or_errno(::VirtualAlloc(nullptr, size_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}

void free_pages(std::byte* pages, size_t) noexcept { ::VirtualFree(pages, 0, MEM_RELEASE); }

// Large pages need a privilege that programs do not have.
void prefer_huge_pages(std::byte*, size_t) noexcept {}

std::byte* reserve_pages(size_t size_bytes) {
  return or_errno(::VirtualAlloc(nullptr, size_bytes, MEM_RESERVE, PAGE_READWRITE));
}

bool commit_pages(std::byte* reserved, size_t size_bytes) {
  return or_errno(::VirtualAlloc(reserved, size_bytes, MEM_COMMIT, PAGE_READWRITE)) != nullptr;
}

void discard_pages(std::byte* pages, size_t size_bytes) noexcept { ::VirtualFree(pages, size_bytes, MEM_DECOMMIT); }

void zero_pages(std::byte*, size_t) noexcept {}

std::byte* allocate_aligned(size_t size_bytes) {
  constexpr size_t kLine = 64;
  return static_cast<std::byte*>(::_aligned_malloc(size_bytes, kLine));
}

void free_aligned(std::byte* memory) noexcept { ::_aligned_free(memory); }

}  // namespace t5g::os
