// AVX2, FMA and F16C: all kernels.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/x86/vectors_avx2.h"
#define T5G_DOT "kernels/cpu/x86/dot_avx2.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kAvx2Level = table_of_all("avx2", kCpuAvx2);

}  // namespace t5g::kernels
