// Counts what a program allocates: by operator new, and as Buffers, which take their memory from elsewhere. For one
// source file of a program, as it replaces the program's operator new.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "checks.h"
#include "tensor/buffer.h"

inline std::atomic<int64_t> n_new{0};

inline int64_t n_allocations() { return n_new.load() + t5g::Buffer::n_made(); }

// Whether both ways to memory are counted: a promise kept by a count that sees nothing is none.
inline bool counts_allocations() {
  const int64_t before = n_allocations();
  const std::vector<int> by_new(1);
  const int64_t between = n_allocations();
  const t5g::Buffer buffer(64);
  return before < between && between < n_allocations();
}

// Calls body several times, first to size what is kept between calls, then to see that nothing else is allocated.
template <class Body>
void check_allocates_nothing(int n_first, int n, Body body) {
  T5G_CHECK(counts_allocations());
  for (int i = 0; i < n_first; ++i) body();
  const int64_t before = n_allocations();
  for (int i = 0; i < n; ++i) body();
  T5G_CHECK(n_allocations() == before);
}

// Sanitizers see these by their malloc.
void* operator new(size_t size) {
  n_new.fetch_add(1, std::memory_order_relaxed);
  if (void* data = std::malloc(size)) return data;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  n_new.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size);
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }
void operator delete(void* data, const std::nothrow_t&) noexcept { std::free(data); }
#ifndef _WIN32  // where aligned memory is freed by another call
void* operator new(size_t size, std::align_val_t alignment) {
  n_new.fetch_add(1, std::memory_order_relaxed);
  const auto align = static_cast<size_t>(alignment);
  if (void* data = std::aligned_alloc(align, (size + align - 1) / align * align)) return data;
  throw std::bad_alloc();
}
void operator delete(void* data, std::align_val_t) noexcept { std::free(data); }
void operator delete(void* data, size_t, std::align_val_t) noexcept { std::free(data); }
#endif
