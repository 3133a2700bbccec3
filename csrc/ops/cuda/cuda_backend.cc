// The GPU backend on NVIDIA's driver.
#include "ops/backends.h"
#include "ops/cuda/cuda_driver.h"
#include "ops/gpu/gpu_backend.h"

namespace t5g {

Backend make_cuda_backend(int index, int) { return gpu::make_gpu_backend(std::make_unique<cuda::CudaDriver>(index)); }

std::string describe_cuda(int index) { return cuda::device_facts(index).description(); }

}  // namespace t5g
