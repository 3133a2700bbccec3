// AVX2, FMA and F16C: all kernels.
#include "kernels/levels.h"

#define T5G_VECTORS "kernels/x86/vectors_avx2.h"
#define T5G_DOT "kernels/x86/dot_avx2.h"
#define T5G_PAIRS "kernels/common/pairs.h"
#include "kernels/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kAvx2Level = table_of_all("avx2", kCpuAvx2);

}  // namespace t5g::kernels
