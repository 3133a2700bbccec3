// Feed-forward layers. The activations between the two layers are the widest of all: as floats, 256 rows of them are
// several times the second-level cache, and they are wanted quantised only. So where there are many rows, a thread
// takes a panel of a few columns of all rows, applies the activation function and quantises it while it is in the
// cache. With biases and residuals added where products are stored, that made an image 5 % cheaper.
//
// Every value goes through the same operations as by linear(), the activation function and quantize() one after the
// other.
#include <algorithm>

#include "kernels/cpu/pack.h"
#include "ops/cpu/cpu_ops.h"

namespace t5g {
namespace {

// Two blocks of the quantised activations; 64 KB for 256 rows.
constexpr int64_t kPanelColumns = 64;
constexpr int64_t kPanelGroups = kPanelColumns / kernels::kGroupRows;
static_assert(kPanelColumns % kernels::kBlock == 0 && kPanelColumns % kernels::kGroupRows == 0);

// Fewer rows stay in the cache anyway, and long streams of weights are read faster.
constexpr int64_t kManyRows = 32;

}  // namespace

bool CpuOps::suits_panels(int64_t rows, std::initializer_list<const Matrix*> weights) const {
  return rows >= kManyRows && std::all_of(weights.begin(), weights.end(), [](const Matrix* weight) {
           return is_quantized(on_cpu(*weight).packed_type());
         });
}

void CpuOps::geglu_mlp(Tensor x, const Projection& gate, const Projection& up, const Projection& down) {
  if (suits_panels(x.rows, {gate.weight, up.weight, down.weight})) {
    const kernels::QuantizedRows inner =
        panels(on_host(x), {&on_cpu(*gate.weight), &on_cpu(*up.weight)},
               [&](float* row, int64_t, int64_t n) { kernels_.geglu(row, row + kPanelColumns, n, row); });  // [b, F]
    return multiply_quantized(x.rows, inner, down);
  }
  linear(x, {gate, up});
  geglu(gate.out, up.out);
  linear(gate.out, {down});
}

void CpuOps::gelu_mlp(Tensor x, const Projection& fc1, const Projection& fc2) {
  const float* bias = on_host(fc1.bias).data;
  if (suits_panels(x.rows, {fc1.weight, fc2.weight})) {
    const kernels::QuantizedRows inner =
        panels(on_host(x), {&on_cpu(*fc1.weight)},
               [&](float* row, int64_t column, int64_t n) { kernels_.bias_gelu(row, bias + column, n); });  // [b, Fv]
    return multiply_quantized(x.rows, inner, fc2);
  }
  linear(x, {{fc1.weight, fc1.out}});
  this->bias_gelu(fc1.out, fc1.bias);
  linear(fc1.out, {fc2});
}

void CpuOps::multiply_quantized(int64_t rows, const kernels::QuantizedRows& x, const Projection& projection) {
  const Product product{&on_cpu(*projection.weight), on_host(projection.out), on_host(projection.bias).data,
                        projection.add};
  multiply(MatmulInput{.rows = rows, .floats = nullptr, .bf16 = nullptr, .quantized = x}, {&product, 1});
}

kernels::QuantizedRows CpuOps::panels(HostTensor x, std::initializer_list<const CpuMatrix*> layers,
                                      FunctionRef<void(float* row, int64_t column, int64_t n)> activate) {
  for (const CpuMatrix* layer : layers) layer->pack(pool_, interrupt());
  const kernels::QuantizedRows x_q = quantize(x);
  const int64_t columns = (*layers.begin())->rows();
  inner_.reshape(x.rows, kernels::padded_to_blocks(columns));
  const int64_t width = kPanelColumns * static_cast<int64_t>(layers.size()), panel_floats = x.rows * width;
  const size_t needed = static_cast<size_t>(pool_.n_threads() * panel_floats) * sizeof(float);
  if (panels_.size_bytes() < needed) panels_ = Buffer(needed);

  pool_.parallel_for((columns + kPanelColumns - 1) / kPanelColumns,
                     [&](int64_t item, int thread) {
                       float* panel = panels_.floats() + thread * panel_floats;
                       const int64_t column = item * kPanelColumns, n = std::min(kPanelColumns, columns - column);
                       kernels::MatmulArgs args{};
                       args.n = n;
                       args.m = x.rows;
                       args.x_q = x_q;
                       args.y = panel;
                       args.ldy = width;
                       for (const CpuMatrix* layer : layers) {
                         const CpuMatrix& matrix = *layer;
                         const size_t group_bytes =
                             kernels::packed_group_bytes(matrix.packed_type(), matrix.packed_cols());
                         args.weight = matrix.packed() + static_cast<size_t>(item * kPanelGroups) * group_bytes;
                         args.group_end = (n + kernels::kGroupRows - 1) / kernels::kGroupRows;
                         args.k = matrix.packed_cols();
                         kernels_.matmul[static_cast<size_t>(matrix.packed_type())](args);
                         args.y += kPanelColumns;
                       }
                       const int64_t padded = kernels::padded_to_blocks(n);
                       for (int64_t i = 0; i < x.rows; ++i, panel += width) {
                         activate(panel, column, n);
                         std::fill(panel + n, panel + padded, 0.0f);
                         inner_.set(kernels_, i, column, panel, padded);
                       }
                     },
                     interrupt());
  return inner_.rows();
}

}  // namespace t5g
