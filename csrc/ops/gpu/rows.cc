// Ops that work row by row, those that move rows, and those of images.
#include <cassert>

#include "ops/gpu/gpu_ops.h"

namespace t5g::gpu {
void GpuOps::embed(const EmbeddingSpec& spec, BatchRows rows, Tensor out) {
  if (out.rows == 0) return;
  const StoredWeight& table = on_gpu(*spec.table);
  TableArgs args{};
  args.table = table.weight();
  args.ids = pointer_to<const i32>(ids_) + rows.first;
  args.special = pointer_to<const f32>(address_of(spec.special));
  args.out = pointer_to<f32>(address_of(out));
  args.scale = spec.scale;
  args.special_id = spec.special_id;
  queue_.launch(for_type(KernelId::embed_F32, table.type()), {static_cast<uint32_t>(out.rows)}, args);
}

void GpuOps::add_rows(Tensor x, const Table& table, int64_t first) {
  if (x.rows == 0) return;
  const StoredWeight& stored = on_gpu(table);
  TableArgs args{};
  args.table = stored.weight();
  args.out = pointer_to<f32>(address_of(x));
  args.first = static_cast<u32>(first);
  queue_.launch(for_type(KernelId::add_rows_F32, stored.type()), {static_cast<uint32_t>(x.rows)}, args);
}

void GpuOps::move(KernelId kernel, Tensor x, std::span<const int32_t> rows, Tensor out) {
  if (rows.empty()) return;
  MoveArgs args{};
  args.x = pointer_to<const f32>(address_of(x));
  args.places = pointer_to<const i32>(queue_.put_values(rows));
  args.out = pointer_to<f32>(address_of(out));
  args.cols = static_cast<u32>(x.cols);
  queue_.launch(kernel, {static_cast<uint32_t>(rows.size())}, args);
}

void GpuOps::gather_rows(Tensor x, std::span<const int32_t> rows, Tensor out) {
  move(KernelId::gather_rows, x, rows, out);
}

void GpuOps::scatter_rows(Tensor x, std::span<const int32_t> rows, Tensor out) {
  move(KernelId::scatter_rows, x, rows, out);
}

void GpuOps::norm(KernelId kernel, const NormArgs& args) {
  if (args.rows > 0) queue_.launch(kernel, {groups(args.rows, kNormRows)}, args);
}

void GpuOps::rms_norm(Tensor x, Tensor weight, float eps, Tensor out) {
  NormArgs args{};
  args.x = pointer_to<const f32>(address_of(x));
  args.weight = pointer_to<const f32>(address_of(weight));
  args.out = pointer_to<f32>(address_of(out));
  args.rows = static_cast<u32>(x.rows);
  args.cols = static_cast<u32>(x.cols);
  args.eps = eps;
  norm(KernelId::rms_norm, args);
}

void GpuOps::rms_norm_heads(Tensor x, Tensor weight, float eps) {
  const Tensor heads{x.storage, x.offset, x.size() / weight.cols, weight.cols};
  rms_norm(heads, weight, eps, heads);
}

void GpuOps::add_rms_norm(Tensor x, Tensor a, Tensor weight, float eps) {
  NormArgs args{};
  args.x = pointer_to<const f32>(address_of(a));
  args.weight = pointer_to<const f32>(address_of(weight));
  args.out = pointer_to<f32>(address_of(x));
  args.rows = static_cast<u32>(x.rows);
  args.cols = static_cast<u32>(x.cols);
  args.eps = eps;
  norm(KernelId::add_rms_norm, args);
}

void GpuOps::layer_norm(Tensor x, Tensor weight, Tensor bias, float eps, Tensor out) {
  NormArgs args{};
  args.x = pointer_to<const f32>(address_of(x));
  args.weight = pointer_to<const f32>(address_of(weight));
  args.bias = pointer_to<const f32>(address_of(bias));
  args.out = pointer_to<f32>(address_of(out));
  args.rows = static_cast<u32>(x.rows);
  args.cols = static_cast<u32>(x.cols);
  args.eps = eps;
  norm(KernelId::layer_norm, args);
}

void GpuOps::rope(Tensor x, BatchRows rows, const Rotary& rotary) {
  if (x.rows == 0) return;
  const auto& angles = static_cast<const GpuRotary&>(rotary);
  RopeArgs args{};
  args.x = pointer_to<f32>(address_of(x));
  args.positions = batch_.positions + rows.first;
  args.inv_freq = pointer_to<const f32>(angles.inv_freq(queue_));
  args.head_dim = static_cast<u32>(angles.head_dim());
  args.heads = static_cast<u32>(x.cols / angles.head_dim());
  queue_.launch(KernelId::rope, {static_cast<uint32_t>(x.rows)}, args);
}

void GpuOps::element(KernelId kernel, Address a, Address b, int64_t rows, int64_t cols, float cap) {
  if (rows * cols == 0) return;
  ElementArgs args{};
  args.a = pointer_to<f32>(a);
  args.b = pointer_to<const f32>(b);
  args.size = static_cast<u64>(rows * cols);
  args.cols = static_cast<u32>(cols);
  args.cap = cap;
  queue_.launch(kernel, {groups(rows * cols, kElementsPerGroup)}, args);
}

// The pixels of an image are copied once, by its first block of rows: until the device was waited for they stay.
void GpuOps::patches(std::span<const uint8_t> pixels, const PatchSpec& spec, int64_t first, Tensor out) {
  if (out.rows == 0) return;
  const Address image = pixels_.of(queue_, pixels.size());
  if (first == 0 || pixels.data() != pixels_of_.data() || pixels.size() != pixels_of_.size()) {
    queue_.write(std::as_bytes(pixels), image);
    pixels_of_ = pixels;
  }
  PatchArgs args{};
  args.pixels = pointer_to<const u8>(image);
  args.out = pointer_to<f32>(address_of(out));
  args.image_size = static_cast<u32>(spec.image_size);
  args.patch_size = static_cast<u32>(spec.patch_size);
  args.first = static_cast<u32>(first);
  for (int c = 0; c < 3; ++c) {
    args.mean[c] = spec.mean[c];
    args.std[c] = spec.std[c];
  }
  queue_.launch(KernelId::patches, {static_cast<uint32_t>(out.rows)}, args);
}

void GpuOps::mean_pool(Tensor x, int64_t window, Tensor out) {
  if (out.rows == 0) return;
  int64_t out_side = 1;
  while (out_side * out_side < out.rows) ++out_side;
  PoolArgs args{};
  args.x = pointer_to<const f32>(address_of(x));
  args.out = pointer_to<f32>(address_of(out));
  args.side = static_cast<u32>(out_side * window);
  args.window = static_cast<u32>(window);
  args.cols = static_cast<u32>(x.cols);
  queue_.launch(KernelId::mean_pool, {static_cast<uint32_t>(out.rows)}, args);
}

}  // namespace t5g::gpu
