// Low-rank adapters (LoRA): what is added to the products of a model's matrices, for those rows of a pass that ask for
// it. The matrices themselves never change, so that several adapters share one model and one batch.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "model/config.h"
#include "model/weights.h"
#include "ops/backends.h"

namespace t5g {

// One adapter's parts, each found by the weight to which it is added.
class AdapterWeights {
 public:
  struct Part {
    std::unique_ptr<LowRank> weight;
    float scale;
  };
  // Of an embedding: token t gets row t of `a`, taken through `b`.
  struct Embedding {
    TablePtr a;                  // [V, rank]
    std::unique_ptr<LowRank> b;  // [D, rank], whose own A is the identity
    Floats inner;                // [block_rows, rank]: the rows of a block
    float scale;
  };

  void add(const LoadedWeight& to, Part part) { parts_.emplace(&to, std::move(part)); }
  const Part* find(const LoadedWeight* weight) const {
    const auto found = parts_.find(weight);
    return found == parts_.end() ? nullptr : &found->second;
  }
  bool is_empty() const { return parts_.empty() && !encoder_embedding && !decoder_embedding; }

  std::optional<Embedding> encoder_embedding, decoder_embedding;
  bool has_vision = false;  // whether the image tower is adapted

 private:
  std::unordered_map<const LoadedWeight*, Part> parts_;
};

// An adapter and the rows of a pass to which it is added.
struct AdaptedRows {
  static constexpr int64_t kAll = int64_t{1} << 40;
  const AdapterWeights* weights;
  float scale;
  int64_t first;
  int64_t n;
};

// The linear layers of a pass, as Ops has them, with what adapters add. `first`: which row of the pass x begins with.
class AdaptedOps {
 public:
  AdaptedOps(Ops& ops, std::span<const AdaptedRows> rows) : ops_(ops), rows_(rows) {}

  void linear(int64_t first, Tensor x, std::initializer_list<Projection> projections) const {
    ops_.linear(x, projections);
    if (!rows_.empty()) add(first, x, {projections.begin(), projections.size()});
  }
  void geglu_mlp(int64_t first, Tensor x, const Projection& gate, const Projection& up, const Projection& down) const;
  void gelu_mlp(int64_t first, Tensor x, const Projection& fc1, const Projection& fc2) const;
  // What one of the two embeddings of an adapter adds to the vectors of tokens, which are multiplied with `scale`.
  void add_embedding(std::optional<AdapterWeights::Embedding> AdapterWeights::* side, BatchRows rows, float scale,
                     Tensor x) const;
  void select(Tensor x, const Head& head, float softcap, std::span<Selection* const> selections) const;

 private:
  void add(int64_t first, Tensor x, std::span<const Projection> projections) const;
  // Appends to products_ what is added to the product of x, which has so many rows, and a weight.
  void collect(int64_t first, int64_t n, const LoadedWeight* weight, Tensor out) const;
  bool touches(int64_t first, int64_t n, std::initializer_list<const Matrix*> weights) const;

  Ops& ops_;
  const std::span<const AdaptedRows> rows_;
  mutable std::vector<LowRankProduct> products_;
};

}  // namespace t5g
