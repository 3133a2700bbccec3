// Stands in for the CUDA backend in builds without it.
#include <string>

#include "base/error.h"
#include "ops/backends.h"

namespace t5g {

namespace {

[[noreturn]] void refuse() {
  throw Unsupported("device 'cuda': this build of t5g has no CUDA kernels. Use device='cpu' or 'auto'.");
}

}  // namespace

Backend make_cuda_backend(int, int) { refuse(); }
std::string describe_cuda(int) { refuse(); }

}  // namespace t5g
