// Takes the files that nvcc made into the library's read-only data.
#include "ops/cuda/images.h"

#define T5G_EMBED(symbol, file)                                                                                      \
  asm(".pushsection .rodata.t5g_cuda,\"a\",%progbits\n.balign 64\n.hidden " #symbol "\n.globl " #symbol "\n" #symbol \
      ":\n.incbin \"" file "\"\n.byte 0\n.popsection\n");                                                            \
  extern "C" const unsigned char symbol[];

T5G_EMBED(t5g_cuda_code, T5G_CUDA_CODE_FILE)
T5G_EMBED(t5g_cuda_ptx_80, T5G_CUDA_PTX_80_FILE)

namespace t5g::cuda {

std::span<const Image> images() {
  static constexpr Image all[] = {{"machine code", t5g_cuda_code}, {"PTX for 8.0", t5g_cuda_ptx_80}};
  return all;
}

}  // namespace t5g::cuda
