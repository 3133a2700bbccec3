// Makes the CPU backend.
#include "ops/backends.h"
#include "ops/cpu/cpu_ops.h"

namespace t5g {

Backend make_cpu_backend(int, int n_threads) {
  auto device = std::make_unique<CpuDevice>(n_threads);
  auto ops = std::make_unique<CpuOps>(*device);
  return {std::move(device), std::move(ops)};
}

}  // namespace t5g
