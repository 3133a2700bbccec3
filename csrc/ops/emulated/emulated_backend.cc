// The GPU backend on the emulated driver.
#include "ops/emulated/emulated_driver.h"
#include "ops/gpu/gpu_backend.h"

namespace t5g {

Backend make_emulated_backend(int, int n_threads) { return gpu::make_gpu_backend(emulated::make_driver(n_threads)); }

std::string describe_emulated(int) { return emulated::make_driver(1)->description(); }

}  // namespace t5g
