// Sizes of the buffers.
#include "model/workspace.h"

namespace t5g {
namespace {

int64_t q_width(const TextConfig& c) { return int64_t{c.num_attention_heads} * c.head_dim; }
int64_t kv_width(const TextConfig& c) { return int64_t{c.num_key_value_heads} * c.head_dim; }

Floats rows_of(int64_t cols, const Backend& backend) {
  return {*backend.device, backend.ops->block_rows(), cols, Floats::Kept::kForPass};
}

std::unique_ptr<Rotary> angles(const TextConfig& c, const RopeParameters& rope, const Backend& backend) {
  return backend.ops->load_rotary({.head_dim = c.head_dim, .theta = rope.rope_theta, .factor = rope.factor});
}

}  // namespace

Workspace::Workspace(const TextConfig& config, const Backend& backend)
    : hidden_(rows_of(config.hidden_size, backend)),
      output_(rows_of(config.hidden_size, backend)),
      queries_(rows_of(q_width(config), backend)),
      keys_(rows_of(kv_width(config), backend)),
      values_(rows_of(kv_width(config), backend)),
      attended_(rows_of(q_width(config), backend)),
      gate_(rows_of(config.intermediate_size, backend)),
      up_(rows_of(config.intermediate_size, backend)),
      sliding_(angles(config, config.rope_sliding, backend)),
      full_(angles(config, config.rope_full, backend)) {}

int64_t Workspace::size_bytes(const TextConfig& c, int64_t block_rows) {
  const int64_t values = 2 * c.hidden_size + 2 * q_width(c) + 2 * kv_width(c) + 2 * c.intermediate_size;
  return block_rows * values * static_cast<int64_t>(sizeof(float));
}

}  // namespace t5g
