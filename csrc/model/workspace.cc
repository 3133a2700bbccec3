// Sizes of the buffers.
#include "model/workspace.h"

namespace t5g {
namespace {

Buffer rows_of(int64_t cols) { return Buffer(static_cast<size_t>(kBlockRows * cols) * sizeof(float)); }

}  // namespace

Workspace::Workspace(const TextConfig& config)
    : hidden_size_(config.hidden_size),
      intermediate_size_(config.intermediate_size),
      q_width_(static_cast<int64_t>(config.num_attention_heads) * config.head_dim),
      kv_width_(static_cast<int64_t>(config.num_key_value_heads) * config.head_dim),
      hidden_(rows_of(hidden_size_)),
      output_(rows_of(hidden_size_)),
      queries_(rows_of(q_width_)),
      keys_(rows_of(kv_width_)),
      values_(rows_of(kv_width_)),
      attended_(rows_of(q_width_)),
      gate_(rows_of(intermediate_size_)),
      up_(rows_of(intermediate_size_)),
      sliding_(config.head_dim, config.rope_sliding.rope_theta, config.rope_sliding.factor),
      full_(config.head_dim, config.rope_full.rope_theta, config.rope_full.factor) {}

void Workspace::reserve_positions(int64_t n) {
  sliding_.reserve(n);
  full_.reserve(n);
}

}  // namespace t5g
