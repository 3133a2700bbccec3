// Where the decoder looks in a source: attention weights, computed again from the queries of a pass and the source's
// keys, on the host and in float. Attention itself never has them in one place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/interrupt.h"
#include "model/decoder.h"
#include "ops/device.h"

namespace t5g {

// Keeps what the passes over a target ask with.
class AttentionQueries final : public AttentionWatcher {
 public:
  AttentionQueries(Device& device, size_t n_layers) : device_(device), layers_(n_layers) {}
  void see(size_t layer, Tensor queries, std::optional<Tensor> own_keys) override;

  struct Layer {
    std::vector<float> queries;   // [T, H * Dh]
    std::vector<float> own_keys;  // [T, K * Dh], or none
  };
  const Layer& layer(size_t index) const { return layers_[index]; }

 private:
  Device& device_;
  std::vector<Layer> layers_;
};

struct AttentionRows {
  int64_t first, n;  // of the target
  int64_t n_source;
};

// Adds to out [rows.n, rows.n_source] the weights of one layer, averaged over its heads, times `share`. source_keys:
// [rows.n_source, K * Dh]. Throws Cancelled.
void add_attention(const AttentionQueries::Layer& layer, std::span<const float> source_keys, const AttentionSpec& spec,
                   const AttentionRows& rows, float share, std::span<float> out, Interrupt* interrupt);

}  // namespace t5g
