// Makes the CPU backend.
#include "ops/cpu/cpu_ops.h"

namespace t5g {

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool) { return std::make_unique<CpuOps>(pool); }

}  // namespace t5g
