// Every kernel of kernels.inc, compiled for the CPU.
#pragma once

#include "kernels/gpu/emulator/group.h"
#include "kernels/gpu/kernels.h"

namespace t5g::gpu {

const emulator::Kernel& emulated(KernelId kernel);

}  // namespace t5g::gpu
