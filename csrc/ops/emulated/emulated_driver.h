// The emulated GPU's driver: kernels run on threads of the host, late, and its memory can be touched by nobody else.
// Whoever reads device memory on the host, or relies on work that nobody waited for, crashes here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ops/gpu/driver.h"

namespace t5g::emulated {

// What all drivers of this process have been asked for, so that tests can count it.
struct Counts {
  int64_t allocations;           // of device and host memory
  int64_t launches, copies;      // those of replays too
  int64_t bytes_up, bytes_down;  // between host and device
  int64_t replays;
};
Counts counts();

std::unique_ptr<gpu::Driver> make_driver(int n_threads);

}  // namespace t5g::emulated
