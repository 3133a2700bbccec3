// NEON, which every 64-bit ARM CPU has: all kernels.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/arm/vectors_neon.h"
#define T5G_DOT "kernels/cpu/arm/dot_neon.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kNeonLevel = table_of_all("neon", kCpuNeon);

}  // namespace t5g::kernels
