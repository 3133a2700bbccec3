// NEON, which every 64-bit ARM CPU has: all kernels.
#include "kernels/levels.h"

#define T5G_VECTORS "kernels/arm/vectors_neon.h"
#define T5G_DOT "kernels/arm/dot_neon.h"
#define T5G_PAIRS "kernels/common/pairs.h"
#include "kernels/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kNeonLevel = table_of_all("neon", kCpuNeon);

}  // namespace t5g::kernels
