// Whether a device's matrix fragments lie where the kernels believe. Apple documents it nowhere, and a GPU to come may
// do it otherwise; so every device is asked when it is opened, and one that disagrees does without fragments.
#pragma once

#include "ops/gpu/driver.h"

namespace t5g::gpu {

// Runs the kernel `probe` and waits. Throws DeviceError when the device fails.
bool fragments_are_known(Driver& driver);

}  // namespace t5g::gpu
