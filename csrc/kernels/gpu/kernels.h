// The host's list of GPU kernels: what is launched by its place in kernels.inc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/gpu/args.h"
#include "quant/types.h"

namespace t5g::gpu {

enum class KernelId : uint32_t {
#define GPU_KERNEL(name, Args, Shared, threads, ...) name,
#include "kernels/gpu/kernels.inc"
#undef GPU_KERNEL
};

struct KernelInfo {
  std::string_view name;
  uint32_t threads;
  size_t args_bytes;
};

inline constexpr KernelInfo kKernels[] = {
#define GPU_KERNEL(name, Args, Shared, threads, ...) KernelInfo{#name, threads, sizeof(Args)},
#include "kernels/gpu/kernels.inc"
#undef GPU_KERNEL
};
inline constexpr size_t kNumKernels = sizeof kKernels / sizeof *kKernels;

// What every driver can take.
#define GPU_KERNEL(name, Args, Shared, threads, ...) static_assert(sizeof(Args) <= 512 && threads % 32 == 0);
#include "kernels/gpu/kernels.inc"
#undef GPU_KERNEL

inline constexpr const KernelInfo& info(KernelId kernel) { return kKernels[static_cast<size_t>(kernel)]; }

// The row for a type of weights, the F32 row being given: for_type(KernelId::matmul_F32, DataType::kQ8_0).
inline constexpr KernelId for_type(KernelId f32_row, DataType type) {
  return static_cast<KernelId>(static_cast<uint32_t>(f32_row) + static_cast<uint32_t>(type));
}

// Whether a kernel is one of the n rows from `first` on.
inline constexpr bool is_among(KernelId kernel, KernelId first, size_t n) {
  return kernel >= first && static_cast<size_t>(kernel) < static_cast<size_t>(first) + n;
}
inline constexpr bool is_matmul(KernelId kernel) { return is_among(kernel, KernelId::matmul_F32, kNumDataTypes); }
inline constexpr bool is_matvec(KernelId kernel) { return is_among(kernel, KernelId::matvec_F32_1, 2 * kNumDataTypes); }
inline constexpr bool is_embed(KernelId kernel) { return is_among(kernel, KernelId::embed_F32, kNumDataTypes); }

// matvec_<type>_<rows>, where a group takes so many rows of m.
inline constexpr uint32_t matvec_rows(int64_t m) { return m <= 1 ? 1 : kMaxMatvecRows; }
inline constexpr KernelId matvec_for(DataType type, uint32_t rows) {
  const uint32_t place = 2 * static_cast<uint32_t>(type) + (rows == 1 ? 0 : 1);
  return static_cast<KernelId>(static_cast<uint32_t>(KernelId::matvec_F32_1) + place);
}

// The types that keys and values are stored in, in the order of their rows.
enum class KvType : uint32_t { kF32, kF16, kBF16, kQ8_0 };
inline constexpr size_t kNumKvTypes = 4;
inline constexpr KernelId for_kv_type(KernelId f32_row, KvType type) {
  return static_cast<KernelId>(static_cast<uint32_t>(f32_row) + static_cast<uint32_t>(type));
}

// flash_<type>_<dims>_<tiles>; none where there are no fragments of the type, or no room for the head_dim.
inline constexpr std::optional<KernelId> flash_for(KvType type, int head_dim, uint32_t tiles) {
  if ((type != KvType::kF16 && type != KvType::kBF16) || head_dim > 256) return std::nullopt;
  if (type == KvType::kBF16) return tiles == 1 ? KernelId::flash_BF16_256_1 : KernelId::flash_BF16_256_2;
  if (head_dim <= 64) return tiles == 1 ? KernelId::flash_F16_64_1 : KernelId::flash_F16_64_2;
  if (head_dim <= 128 && tiles == 2) return KernelId::flash_F16_128_2;
  return tiles == 1 ? KernelId::flash_F16_256_1 : KernelId::flash_F16_256_2;
}

inline constexpr bool is_store(KernelId kernel) { return is_among(kernel, KernelId::store_kv_F32, kNumKvTypes); }
inline constexpr bool is_plain_attention(KernelId kernel) {
  return is_among(kernel, KernelId::attention_F32, kNumKvTypes);
}
inline constexpr bool is_flash(KernelId kernel) {
  return kernel >= KernelId::flash_F16_64_1 && kernel <= KernelId::flash_BF16_256_2;
}

// latent_attention_<type>, for rows of F32, F16 or Q8_0.
inline constexpr KernelId latent_attention_for(DataType type) {
  if (type == DataType::kF32) return KernelId::latent_attention_F32;
  return type == DataType::kF16 ? KernelId::latent_attention_F16 : KernelId::latent_attention_Q8_0;
}

}  // namespace t5g::gpu
