// AVX-VNNI, for CPUs without AVX-512: the matrix products of the quantised types; the rest is inherited.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/x86/vectors_avx2.h"
#define T5G_DOT "kernels/cpu/x86/dot_avx_vnni.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/common/quantized.h"

namespace t5g::kernels {

constinit const KernelTable kAvxVnniLevel = table_of_quantized("avx_vnni", kCpuAvx2 | kCpuAvxVnni);

}  // namespace t5g::kernels
