// What x86 itself says, the same way on every system.
#pragma once

#include <cstdint>

namespace t5g::os {

// Bits of CpuFeature; none on other CPUs.
uint64_t x86_features();

}  // namespace t5g::os
