// The GPU backend on NVIDIA's driver.
#include "base/error.h"
#include "ops/backends.h"
#include "ops/cuda/cuda_driver.h"
#include "ops/gpu/gpu_backend.h"

namespace t5g {

Backend make_cuda_backend(int index, int) { return gpu::make_gpu_backend(std::make_unique<cuda::CudaDriver>(index)); }

std::string describe_cuda(int index) { return cuda::device_facts(index).description(); }

int count_cuda() {
  try {
    return cuda::count_devices();
  } catch (const Unsupported&) {
    return 0;
  }
}

}  // namespace t5g
