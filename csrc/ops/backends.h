// The devices that t5g knows, each one row: how it is made, or why it cannot be.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/message.h"
#include "ops/device.h"
#include "ops/ops.h"

namespace t5g {

// A device and what runs on it.
struct Backend {
  std::unique_ptr<Device> device;
  std::unique_ptr<Ops> ops;  // goes first
};

// name: "cpu", "cuda", "cuda:1", "metal", "emulated", ..., or "auto" for what the environment variable T5G_DEVICE
// names, and where that is not set for the first accelerator that works, else the CPU. n_threads: of the host. Throws
// InvalidArgument for a name that nobody has, Unsupported, with what to do, for a device that this build or machine
// lacks.
Backend make_backend(const std::string& name, int n_threads);

// Every device there could be, best first: what it is ("NVIDIA H100 80GB HBM3, 79.1 GiB"), or why it is not there.
// Makes none of them.
struct DeviceState {
  std::string name;
  bool is_available;
  Message description;
};
std::vector<DeviceState> device_states();

// A factory and a description per device, each in a folder of its own: a build without it has a file there that throws
// Unsupported. index: which one of several.
Backend make_cpu_backend(int index, int n_threads);
std::string describe_cpu(int index);
Backend make_cuda_backend(int index, int n_threads);
std::string describe_cuda(int index);
int count_cuda();  // GPUs that the driver sees, of use or not; 0 where there is no driver
Backend make_metal_backend(int index, int n_threads);
std::string describe_metal(int index);
// GPU kernels on the host, for tests.
Backend make_emulated_backend(int index, int n_threads);
std::string describe_emulated(int index);
#ifdef T5G_TEST_DEVICE
Backend make_deferred_backend(int index, int n_threads);  // tests/support/deferred_device.cc
std::string describe_deferred(int index);
#endif

}  // namespace t5g
