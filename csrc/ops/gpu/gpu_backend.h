// The one GPU backend, on whatever driver.
#pragma once

#include <memory>

#include "ops/backends.h"
#include "ops/gpu/driver.h"

namespace t5g::gpu {

// Throws DeviceError.
Backend make_gpu_backend(std::unique_ptr<Driver> driver);

}  // namespace t5g::gpu
