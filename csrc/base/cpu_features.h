// What this CPU (and the operating system) can run, asked once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace t5g {

enum CpuFeature : uint64_t {
  kCpuAvx2 = 1u << 0,        // AVX2, FMA and F16C, and the OS saves their registers
  kCpuAvx512 = 1u << 1,      // F, BW, DQ, VL, and the OS saves their registers
  kCpuAvx512Vnni = 1u << 2,  // VPDPBUSD on 512-bit registers
  kCpuAvx512Bf16 = 1u << 3,
  kCpuAvxVnni = 1u << 4,  // VPDPBUSD, VEX-coded, without AVX-512
  kCpuAmxInt8 = 1u << 5,  // tiles and their products of bytes; the OS has to be asked (see may_use_amx)
  kCpuAvx512Vbmi = 1u << 6,
  kCpuAvx512Bf16Fast = 1u << 7,  // VDPBF16PS takes no longer than one of the two multiply-adds that it replaces
  kCpuNeon = 1u << 8,
  kCpuNeonDotprod = 1u << 9,
  kCpuNeonI8mm = 1u << 10,
};

// Bit set of CpuFeature.
uint64_t cpu_features();

// Asks the operating system once to let this process use tiles, for good. Linux refuses where a thread has a signal
// stack that would be too small for what is then saved there, and refuses such stacks afterwards.
bool may_use_amx();

// Names of the bits that are set, in the order above; for system_info().
std::vector<std::string> cpu_feature_names(uint64_t features);

// Physical cores this process may use: its affinity mask counted in cores, capped by the cgroup CPU quota. At least 1.
int usable_core_count();

}  // namespace t5g
