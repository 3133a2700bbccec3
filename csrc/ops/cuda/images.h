// The kernels as machine code, embedded when t5g is built (cmake/cuda.cmake).
#pragma once

#include <span>

namespace t5g::cuda {

struct Image {
  const char* what;  // for messages
  const void* data;  // as cuModuleLoadData takes it
};

// In the order in which they are tried: code for the GPUs that are known, which drivers as new as the compiler take,
// then PTX that says it is of version 7.4, which drivers since 550 compile for any GPU of that compute capability or
// later.
std::span<const Image> images();

}  // namespace t5g::cuda
