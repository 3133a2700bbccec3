// What surrounds a pass through the encoder: where its states end up, and how far it has come.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>

#include "base/progress.h"
#include "model/config.h"
#include "ops/device.h"

namespace t5g {

// Rows of the host's memory as the device sees them: that memory itself, or where it cannot, a copy that is fetched.
class DeviceRows {
 public:
  DeviceRows(Device& device, std::span<float> host, int64_t rows, int64_t cols)
      : device_(device),
        host_(host),
        borrowed_(device.borrow(std::as_writable_bytes(host))),
        view_{borrowed_.get(), 0, rows, cols} {
    if (borrowed_ != nullptr) return;
    copy_ = Floats(device, rows, cols);
    view_ = copy_.view();
  }
  Tensor view() const { return view_; }
  // Waits until the host has them.
  void fetch() {
    if (borrowed_ != nullptr) {
      device_.wait();
    } else {
      device_.download(view_, host_);
    }
  }

 private:
  Device& device_;
  const std::span<float> host_;
  const std::unique_ptr<Storage> borrowed_;
  Floats copy_;
  Tensor view_;
};

// How far the encoder has come, by the multiplications behind it: layers with full attention take most of a long
// source.
class ReadingProgress {
 public:
  // progress: may be null.
  ReadingProgress(const TextConfig& config, int64_t n, int64_t block_rows, Progress* progress)
      : config_(config), n_(n), n_blocks_((n + block_rows - 1) / block_rows), progress_(progress) {
    for (size_t layer = 0; layer < config.layer_types.size(); ++layer) total_ += keys(layer) + rest(layer);
    total_ *= static_cast<double>(n_blocks_);
    if (progress_ != nullptr) progress_->update(0, n_);
  }
  // A layer goes over all blocks twice: for keys and values, then for everything else.
  void block_done() {
    const auto layer = static_cast<size_t>(n_done_ / (2 * n_blocks_));
    done_ += n_done_++ / n_blocks_ % 2 == 0 ? keys(layer) : rest(layer);
    if (progress_ != nullptr) progress_->update(static_cast<int64_t>(static_cast<double>(n_) * done_ / total_), n_);
  }
  void end() {
    if (progress_ != nullptr) progress_->update(n_, n_);
  }

 private:
  // Multiplications for each token.
  double keys(size_t) const { return 2.0 * config_.hidden_size * config_.num_key_value_heads * config_.head_dim; }
  double rest(size_t layer) const {
    const double width = config_.num_attention_heads * config_.head_dim, size = config_.hidden_size;
    const Window window = config_.window(config_.layer_types[layer]);
    const auto seen = static_cast<double>(std::min(n_, window.before + window.after + 1));
    return size * (2 * width + 3.0 * config_.intermediate_size) + 2 * width * seen;
  }

  const TextConfig& config_;
  const int64_t n_, n_blocks_;
  Progress* const progress_;
  double total_ = 0, done_ = 0;
  int64_t n_done_ = 0;
};

}  // namespace t5g
