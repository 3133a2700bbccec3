// Stands in for the Metal backend in builds without it.
#include "base/error.h"
#include "ops/ops.h"

namespace t5g {

std::unique_ptr<Ops> make_metal_ops() {
  throw Unsupported("device 'metal': this build of t5g has no Metal kernels. Use device='cpu' or 'auto'.");
}

}  // namespace t5g
