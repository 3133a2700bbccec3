// Stands in for the emulated GPU in builds without it.
#include <string>

#include "base/error.h"
#include "ops/backends.h"

namespace t5g {
namespace {

[[noreturn]] void refuse() {
  throw Unsupported(
      "device 'emulated': this build of t5g has no emulated GPU, which is for tests. Build it with "
      "-DT5G_EMULATED_GPU=ON (pip install . -Ccmake.define.T5G_EMULATED_GPU=ON), or use " +
      to_give("device", "cpu") + " or 'auto'.");
}

}  // namespace

Backend make_emulated_backend(int, int) { refuse(); }
std::string describe_emulated(int) { refuse(); }

}  // namespace t5g
