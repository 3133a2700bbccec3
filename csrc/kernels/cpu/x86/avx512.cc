// AVX-512 F, BW, DQ, VL: all kernels.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/x86/vectors_avx512.h"
#define T5G_DOT "kernels/cpu/x86/dot_avx512.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kAvx512Level = table_of_all("avx512", kCpuAvx512);

}  // namespace t5g::kernels
