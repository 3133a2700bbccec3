// Which products of which adapters belong to a layer and its rows.
#include "model/adapter.h"

namespace t5g {

void AdaptedOps::collect(int64_t first, int64_t n, const LoadedWeight* weight, Tensor out) const {
  for (const AdaptedRows& rows : rows_) {
    const int64_t begin = std::max(rows.first, first), end = std::min(rows.first + rows.n, first + n);
    if (begin >= end) continue;
    if (const AdapterWeights::Part* part = rows.weights->find(weight))
      products_.push_back({part->weight.get(), rows.scale * part->scale, begin - first, end - begin, out});
  }
}

void AdaptedOps::add(int64_t first, Tensor x, std::span<const Projection> projections) const {
  products_.clear();
  for (const Projection& projection : projections) collect(first, x.rows, projection.weight, projection.out);
  if (!products_.empty()) ops_.add_low_rank(x, products_);
}

bool AdaptedOps::touches(int64_t first, int64_t n, std::initializer_list<const Matrix*> weights) const {
  products_.clear();
  for (const Matrix* weight : weights) collect(first, n, weight, {});
  return !products_.empty();
}

void AdaptedOps::geglu_mlp(int64_t first, Tensor x, const Projection& gate, const Projection& up,
                           const Projection& down) const {
  if (!touches(first, x.rows, {gate.weight, up.weight, down.weight})) return ops_.geglu_mlp(x, gate, up, down);
  linear(first, x, {gate, up});
  ops_.geglu(gate.out, up.out);
  linear(first, gate.out, {down});
}

void AdaptedOps::gelu_mlp(int64_t first, Tensor x, const Projection& fc1, const Projection& fc2) const {
  if (!touches(first, x.rows, {fc1.weight, fc2.weight})) return ops_.gelu_mlp(x, fc1, fc2);
  linear(first, x, {{fc1.weight, fc1.out}});
  ops_.bias_gelu(fc1.out, fc1.bias);
  linear(first, fc1.out, {fc2});
}

void AdaptedOps::add_embedding(std::optional<AdapterWeights::Embedding> AdapterWeights::* side, BatchRows rows,
                               float scale, Tensor x) const {
  for (const AdaptedRows& adapted : rows_) {
    const std::optional<AdapterWeights::Embedding>& embedding = adapted.weights->*side;
    const int64_t begin = std::max(adapted.first, rows.first),
                  end = std::min(adapted.first + adapted.n, rows.first + rows.n);
    if (!embedding) continue;
    for (int64_t at = begin; at < end; at += ops_.block_rows()) {
      const int64_t n = std::min(ops_.block_rows(), end - at);
      const Tensor inner = embedding->inner.view(n);
      ops_.embed({.table = embedding->a.get(), .scale = scale * adapted.scale * embedding->scale},
                 rows.batch->rows(at, n), inner);  // [n, rank]
      const LowRankProduct product{embedding->b.get(), 1.0f, 0, n, x.slice(at - rows.first, at - rows.first + n)};
      ops_.add_low_rank(inner, {&product, 1});
    }
  }
}

void AdaptedOps::select(Tensor x, const Head& head, float softcap, std::span<Selection* const> selections) const {
  products_.clear();
  if (!rows_.empty()) collect(0, x.rows, &head, {});
  if (products_.empty()) return ops_.select(x, head, softcap, selections);
  ops_.select_adapted(x, head, products_, softcap, selections);
}

}  // namespace t5g
