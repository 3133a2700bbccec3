// CPUID, where the CPU has it.
#include "base/os/x86.h"

#include "base/cpu_features.h"

#if defined(__x86_64__)

#include <cpuid.h>

namespace t5g::os {

namespace {

// On AMD's CPUs VDPBF16PS takes as long as a multiply-add; on Intel's up to now two cycles, in which four are done.
bool has_fast_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && d == signature_AMD_edx && c == signature_AMD_ecx;
}

}  // namespace

uint64_t x86_features() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const bool osxsave = (c >> 27) & 1u, fma = (c >> 12) & 1u, f16c = (c >> 29) & 1u;
  if (!osxsave) return 0;  // a CPU may report AVX2 although the OS does not save its registers
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool os_ymm = (low & 0x06u) == 0x06u, os_zmm = (low & 0xe6u) == 0xe6u;
  if (!os_ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  uint64_t features = 0;
  if (((b >> 5) & 1u) && fma && f16c) features |= kCpuAvx2;
  const bool avx512 = os_zmm && ((b >> 16) & 1u) && ((b >> 17) & 1u) && ((b >> 30) & 1u) && ((b >> 31) & 1u);
  if (avx512 && (features & kCpuAvx2)) features |= kCpuAvx512;
  if (avx512 && ((c >> 11) & 1u)) features |= kCpuAvx512Vnni;
  if (avx512 && ((c >> 1) & 1u)) features |= kCpuAvx512Vbmi;
  const bool os_tiles = (low & 0x60000u) == 0x60000u;
  if (os_tiles && ((d >> 24) & 1u) && ((d >> 25) & 1u)) features |= kCpuAmxInt8;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
    if (features & kCpuAvx2) features |= ((a >> 4) & 1u) * kCpuAvxVnni;
    if (avx512 && ((a >> 5) & 1u)) features |= has_fast_bf16() ? kCpuAvx512Bf16 | kCpuAvx512Bf16Fast : kCpuAvx512Bf16;
  }
  return features;
}

}  // namespace t5g::os

#else

namespace t5g::os {

uint64_t x86_features() { return 0; }

}  // namespace t5g::os

#endif
