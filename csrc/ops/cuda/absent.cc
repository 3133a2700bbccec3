// Stands in for the CUDA backend in builds without it.
#include <string>

#include "base/error.h"
#include "ops/backends.h"

namespace t5g {

namespace {

[[noreturn]] void refuse() {
  throw Unsupported("device 'cuda': " T5G_CUDA_ABSENT
                    ". Install a build that has them (docs/devices.md says how one is made), or use " +
                    to_give("device", "cpu") + ".");
}

}  // namespace

Backend make_cuda_backend(int, int) { refuse(); }
std::string describe_cuda(int) { refuse(); }
int count_cuda() { return 0; }

}  // namespace t5g
