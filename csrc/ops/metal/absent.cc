// Stands in for the Metal backend in builds without it.
#include "base/error.h"
#include "ops/backends.h"

namespace t5g {

Backend make_metal_backend(int, int) {
  throw Unsupported("device 'metal': this build of t5g has no Metal kernels. Use device='cpu' or 'auto'.");
}

}  // namespace t5g
