// Stands in for the CUDA backend in builds without it.
#include "base/error.h"
#include "ops/ops.h"

namespace t5g {

std::unique_ptr<Ops> make_cuda_ops() {
  throw Unsupported("device 'cuda': this build of t5g has no CUDA kernels. Use device='cpu' or 'auto'.");
}

}  // namespace t5g
