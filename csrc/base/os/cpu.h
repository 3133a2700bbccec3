// What the system says of its CPUs: instructions that may be used, and cores that this process may use.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace t5g::os {

// Bits of CpuFeature, of what both the CPU and the system support.
uint64_t detect_cpu_features();

// Asks the system for AMX's tiles, which it grants to processes that ask; false where it does not.
bool request_amx();

// Cores, not hyper-threads, that this process's affinity allows; the fast ones, where there are two kinds. At least 1.
int allowed_physical_cores();

// Tells the CPU that a thread is waiting in a loop.
inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace t5g::os
