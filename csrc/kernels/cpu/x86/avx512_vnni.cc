// AVX-512 VNNI: the matrix products of the quantised types; the rest is inherited.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/x86/vectors_avx512.h"
#define T5G_DOT "kernels/cpu/x86/dot_avx512_vnni.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/common/quantized.h"

namespace t5g::kernels {

constinit const KernelTable kAvx512VnniLevel = table_of_quantized("avx512_vnni", kCpuAvx512 | kCpuAvx512Vnni);

}  // namespace t5g::kernels
