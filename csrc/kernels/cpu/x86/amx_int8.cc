// AMX INT8: the products of quantised types with many rows of activations; the rest is inherited, but not the pairs of
// avx512_bf16: on the CPUs that have tiles, VDPBF16PS takes two cycles, and the two multiply-adds that it replaces one.
// The system has to permit tiles to the process (see may_use_amx).
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/x86/vectors_avx512.h"
#define T5G_DOT "kernels/cpu/x86/dot_avx512.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/x86/tiles_amx.h"

namespace t5g::kernels {
constinit const KernelTable kAmxInt8Level =
    table_of_many<TileUnit<AmxTiles>, kAvx512VnniLevel>("amx_int8", kCpuAvx512 | kCpuAvx512Vnni | kCpuAmxInt8);

}  // namespace t5g::kernels
