// The devices that t5g knows, each one row: how it is made, or why it cannot be.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/device.h"
#include "ops/ops.h"

namespace t5g {

// A device and what runs on it.
struct Backend {
  std::unique_ptr<Device> device;
  std::unique_ptr<Ops> ops;  // goes first
};

// name: "cpu", "cuda", "cuda:1", "metal", ..., or "auto" for what the environment variable T5G_DEVICE names, and where
// that is not set for the first accelerator that works, else the CPU. n_threads: of the host. Throws InvalidArgument
// for a name that nobody has, Unsupported, with what to do, for a device that this build or machine lacks.
Backend make_backend(const std::string& name, int n_threads);

// Every device there could be, best first, and "available" or the reason why it is not there.
struct DeviceState {
  std::string name;
  std::string state;
};
std::vector<DeviceState> device_states();

// One factory per device, each in a file of its own: a build without it has a file that throws Unsupported. index:
// which one of several.
Backend make_cpu_backend(int index, int n_threads);
Backend make_cuda_backend(int index, int n_threads);
Backend make_metal_backend(int index, int n_threads);
#ifdef T5G_TEST_DEVICE
Backend make_deferred_backend(int index, int n_threads);  // tests/support/deferred_device.cc
#endif

}  // namespace t5g
