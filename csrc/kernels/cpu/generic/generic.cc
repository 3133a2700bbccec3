// The level that runs everywhere.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/generic/vectors.h"
#define T5G_DOT "kernels/cpu/generic/dot.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kGenericLevel = table_of_all("generic", 0);

}  // namespace t5g::kernels
