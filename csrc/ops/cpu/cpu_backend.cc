// Makes the CPU backend.
#include <cstdio>
#include <string>

#include "base/os/memory.h"
#include "ops/backends.h"
#include "ops/cpu/cpu_ops.h"

namespace t5g {

Backend make_cpu_backend(int, int n_threads) {
  auto device = std::make_unique<CpuDevice>(n_threads);
  auto ops = std::make_unique<CpuOps>(*device);
  return {std::move(device), std::move(ops)};
}

std::string describe_cpu(int) {
  const double gib = static_cast<double>(os::machine_bytes()) / (1 << 30);
  char memory[32];
  std::snprintf(memory, sizeof memory, ", %.1f GiB", gib);
  return std::string(kernels::active().name) + " kernels" + memory;
}

}  // namespace t5g
