// Memory straight from the system, in pages, and heap memory that is aligned. Nothing here throws: callers know what
// the memory is for, and say so when it cannot be had.
#pragma once

#include <cstddef>
#include <cstdint>

namespace t5g::os {

size_t page_bytes();
// Of the whole machine; 0 where the system does not say.
uint64_t machine_bytes();

// Zero-filled, and memory of the machine only where it is written to. Null, with the reason in errno, when the system
// refuses.
std::byte* allocate_pages(size_t size_bytes);
// Of allocate_pages() or reserve_pages(), as a whole.
void free_pages(std::byte* pages, size_t size_bytes) noexcept;
// A wish: where the system has larger pages and wants to be asked for them.
void prefer_huge_pages(std::byte* pages, size_t size_bytes) noexcept;

// Addresses without memory. Null, with errno, when the system refuses.
std::byte* reserve_pages(size_t size_bytes);
// Makes the first bytes of a reservation memory; false, with errno, when there is none.
bool commit_pages(std::byte* reserved, size_t size_bytes);
// Gives back the memory of whole pages, which nobody may look at any more; their addresses stay taken.
void discard_pages(std::byte* pages, size_t size_bytes) noexcept;

// Gives back the memory of whole pages of allocate_pages(), which are zeros from then on, or does nothing where the
// system cannot.
void zero_pages(std::byte* pages, size_t size_bytes) noexcept;

// From the heap, at a multiple of 64 bytes; null when there is none.
std::byte* allocate_aligned(size_t size_bytes);
void free_aligned(std::byte* memory) noexcept;

}  // namespace t5g::os
