// What drivers say alike.
#pragma once

#include <cstddef>
#include <string>

#include "base/error.h"

namespace t5g::gpu {

// "79.1 GiB", "512.0 MiB", "12 bytes".
std::string bytes_text(size_t size_bytes);

// Line breaks become spaces.
std::string one_line(std::string text);

struct MemoryState {
  size_t free_bytes, total_bytes;
};
// device: "cuda:0"; where: "of the device's memory".
DeviceError out_of_memory(const std::string& device, size_t needed_bytes, const std::string& where, MemoryState state);

}  // namespace t5g::gpu
