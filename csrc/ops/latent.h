// A source as the encoder's output alone: what the decoder may look at instead of keys and values of every layer, which
// are linear in it. docs/design/latent-sources.md has the algebra.
#pragma once

#include <cstdint>

#include "quant/types.h"

namespace t5g {

// What one is made for: rows as tensor/state_rows.h lays them out, and the decoder that looks at them.
struct LatentFormat {
  DataType type;        // of the rows
  int64_t hidden_size;  // D of the encoder
  int n_layers;         // of the decoder,
  int n_kv_heads;       // which scales its keys, one number for each head and token; 0: it does not
};

// Made by Ops::load_latent(). Outlives the ops that name it, and not its device.
class Latent {
 public:
  virtual ~Latent() = default;
};

}  // namespace t5g
