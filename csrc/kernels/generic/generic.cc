// The level that runs everywhere.
#include "kernels/levels.h"

#define T5G_VECTORS "kernels/generic/vectors.h"
#define T5G_DOT "kernels/generic/dot.h"
#define T5G_PAIRS "kernels/common/pairs.h"
#include "kernels/common/all.h"

namespace t5g::kernels {

constinit const KernelTable kGenericLevel = table_of_all("generic", 0);

}  // namespace t5g::kernels
