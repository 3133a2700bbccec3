// Stands in for the Metal backend in builds without it.
#include <string>

#include "base/error.h"
#include "ops/backends.h"

namespace t5g {

namespace {

[[noreturn]] void refuse() {
  throw Unsupported("device 'metal': this build of t5g has no Metal kernels, which only builds for macOS have. Use " +
                    to_give("device", "cpu") + " or 'auto'.");
}

}  // namespace

Backend make_metal_backend(int, int) { refuse(); }
std::string describe_metal(int) { refuse(); }

}  // namespace t5g
