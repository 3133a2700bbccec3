// NEON with SMMLA: the products of quantised types with many rows of activations; the rest is inherited.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/arm/vectors_neon.h"
#define T5G_DOT "kernels/cpu/arm/dot_neon_dotprod.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/arm/smmla.h"

namespace t5g::kernels {

constinit const KernelTable kNeonI8mmLevel =
    table_of_many<Smmla, kNeonDotprodLevel>("neon_i8mm", kCpuNeon | kCpuNeonDotprod | kCpuNeonI8mm);

}  // namespace t5g::kernels
