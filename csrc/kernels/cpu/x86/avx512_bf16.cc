// AVX-512 BF16: what multiplies pairs of bfloat16; the rest is inherited. Every such CPU but one has VBMI too, whose
// table lookups make attention's weights. Where the instruction takes as long as four multiply-adds, those of
// avx512_vnni are faster, with the same results.
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/x86/vectors_avx512.h"
#define T5G_DOT "kernels/cpu/x86/dot_avx512.h"
#define T5G_PAIRS "kernels/cpu/x86/pairs_avx512_bf16.h"
#include "kernels/cpu/common/kv_table.h"
#include "kernels/cpu/common/matmul.h"
#include "kernels/cpu/common/round.h"

namespace t5g::kernels {
namespace {

constexpr KernelTable table_of_pairs() {
  KernelTable table = {};
  table.name = "avx512_bf16";
  table.required_features = kCpuAvx512 | kCpuAvx512Vnni | kCpuAvx512Bf16 | kCpuAvx512Vbmi;
  table.worth_features = kCpuAvx512Bf16Fast;
  table.matmul[static_cast<size_t>(DataType::kBF16)] = &matmul<PackedBF16>;
  table.round_row = &round_row;
  add_kv_kernels<KvBF16>(table);
  return table;
}

}  // namespace

constinit const KernelTable kAvx512Bf16Level = table_of_pairs();

}  // namespace t5g::kernels
