// NEON with dot products: the matrix products of the quantised types; the rest is inherited.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/arm/vectors_neon.h"
#define T5G_DOT "kernels/cpu/arm/dot_neon_dotprod.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/common/quantized.h"

namespace t5g::kernels {

constinit const KernelTable kNeonDotprodLevel = table_of_quantized("neon_dotprod", kCpuNeon | kCpuNeonDotprod);

}  // namespace t5g::kernels
