// AVX-512 F, BW, DQ, VL: all kernels.
#include "kernels/levels.h"

#define T5G_VECTORS "kernels/x86/vectors_avx512.h"
#define T5G_DOT "kernels/x86/dot_avx512.h"
#define T5G_PAIRS "kernels/common/pairs.h"
#include "kernels/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kAvx512Level = table_of_all("avx512", kCpuAvx512);

}  // namespace t5g::kernels
