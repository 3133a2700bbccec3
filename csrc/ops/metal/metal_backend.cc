// The GPU backend on Metal.
#include "ops/backends.h"
#include "ops/gpu/gpu_backend.h"
#include "ops/metal/metal_driver.h"

namespace t5g {

Backend make_metal_backend(int, int) { return gpu::make_gpu_backend(std::make_unique<metal::MetalDriver>()); }

std::string describe_metal(int) { return metal::describe_gpu(); }

}  // namespace t5g
