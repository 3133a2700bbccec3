// NEON with dot products: the matrix products of the quantised types; the rest is inherited.
#include "kernels/levels.h"

#define T5G_VECTORS "kernels/arm/vectors_neon.h"
#define T5G_DOT "kernels/arm/dot_neon_dotprod.h"
#define T5G_PAIRS "kernels/common/pairs.h"
#include "kernels/common/quantized.h"

namespace t5g::kernels {

constinit const KernelTable kNeonDotprodLevel = table_of_quantized("neon_dotprod", kCpuNeon | kCpuNeonDotprod);

}  // namespace t5g::kernels
