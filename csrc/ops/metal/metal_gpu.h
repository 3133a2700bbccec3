// The GPU of a Mac, of which the process has one: its kernels are compiled once, from their text, and kept.
#pragma once

#include <array>
#include <mutex>
#include <string>

#include "kernels/gpu/kernels.h"
#include "ops/metal/objc.h"

namespace t5g::metal {

// The kernels' source in Metal's language, made when t5g is built.
extern const char* const kKernelText;

class MetalGpu {
 public:
  // Throws Unsupported: no Metal, a GPU that is not Apple's own or too old, or kernels that do not compile.
  static MetalGpu& get();

  Id device() const { return device_.get(); }
  const std::string& product() const { return product_; }  // "Apple M2 Pro"
  // What Metal recommends to stay below, and what this process has taken of it.
  size_t total_bytes() const { return call::recommended_bytes(device_.get()); }
  size_t free_bytes() const;
  // Compiled for the GPU when first asked for. Throws DeviceError.
  Id pipeline(size_t kernel);

 private:
  MetalGpu();
  Owned compile_library() const;

  Owned device_;
  std::string product_;
  Owned library_;
  std::mutex mutex_;
  std::array<Owned, gpu::kNumKernels> pipelines_;
};

// Its name and memory, without compiling anything. Throws Unsupported.
std::string describe_gpu();

}  // namespace t5g::metal
