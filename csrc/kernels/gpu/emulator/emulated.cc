// The kernels' bodies as functions of the host. Their own flags: see CMakeLists.txt.
#include "kernels/gpu/emulator/emulated.h"

#include "kernels/gpu/all.h"

namespace t5g::gpu {
namespace {

#define GPU_KERNEL(name, Args, Shared, threads, ...)                                     \
  void run_##name(const void* args, void* shared, Thread thread) {                       \
    __VA_ARGS__(*static_cast<const Args*>(args), *static_cast<Shared*>(shared), thread); \
  }
#include "kernels/gpu/kernels.inc"
#undef GPU_KERNEL

constexpr emulator::Kernel kEmulated[] = {
#define GPU_KERNEL(name, Args, Shared, threads, ...) {#name, threads, sizeof(Args), sizeof(Shared), run_##name},
#include "kernels/gpu/kernels.inc"
#undef GPU_KERNEL
};

}  // namespace

const emulator::Kernel& emulated(KernelId kernel) { return kEmulated[static_cast<size_t>(kernel)]; }

}  // namespace t5g::gpu
