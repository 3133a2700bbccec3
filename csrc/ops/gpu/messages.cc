// Sizes in words, and the message of a device that is full.
#include "ops/gpu/messages.h"

#include <cstdio>

#include "base/printable.h"

namespace t5g::gpu {

std::string bytes_text(size_t size_bytes) {
  char text[40];
  const auto bytes = static_cast<double>(size_bytes);
  if (size_bytes >= size_t{1} << 30) {
    std::snprintf(text, sizeof text, "%.1f GiB", bytes / (1 << 30));
  } else if (size_bytes >= size_t{1} << 20) {
    std::snprintf(text, sizeof text, "%.1f MiB", bytes / (1 << 20));
  } else if (size_bytes >= size_t{1} << 10) {
    std::snprintf(text, sizeof text, "%.1f KiB", bytes / (1 << 10));
  } else {
    std::snprintf(text, sizeof text, "%zu bytes", size_bytes);
  }
  return text;
}

std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return printable(text);
}

DeviceError out_of_memory(const std::string& device, size_t needed_bytes, const std::string& where, MemoryState state) {
  return DeviceError("device '" + device + "': out of memory: " + bytes_text(needed_bytes) + " were needed " + where +
                     ", and " + bytes_text(state.free_bytes) + " of " + bytes_text(state.total_bytes) +
                     " are free. Close other models or programs, use a smaller file or batch, or " +
                     to_give("device", "cpu") + ".");
}

}  // namespace t5g::gpu
