// Stands in for the CUDA backend in builds without it.
#include "base/error.h"
#include "ops/backends.h"

namespace t5g {

Backend make_cuda_backend(int, int) {
  throw Unsupported("device 'cuda': this build of t5g has no CUDA kernels. Use device='cpu' or 'auto'.");
}

}  // namespace t5g
