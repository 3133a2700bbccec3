// A source that has been read: its final hidden states, to be used by any number of calls.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/source_cache.h"
#include "tensor/buffer.h"
#include "tensor/tensor.h"

namespace t5g {

class EncodedSource {
 public:
  // hidden_states: room for ids.size() rows of hidden_size floats.
  EncodedSource(std::vector<int32_t> ids, Buffer hidden_states, int64_t hidden_size, uint64_t model_fingerprint)
      : ids_(std::move(ids)),
        hidden_states_(std::move(hidden_states)),
        hidden_size_(hidden_size),
        model_fingerprint_(model_fingerprint) {}

  const std::vector<int32_t>& ids() const { return ids_; }
  Tensor hidden_states() const {  // [S, D]
    return {hidden_states_.floats(), static_cast<int64_t>(ids_.size()), hidden_size_};
  }
  uint64_t model_fingerprint() const { return model_fingerprint_; }

  // Writes a file that only the same model accepts; complete or not at all. Throws IoError.
  void save(const std::string& path) const;
  // Throws FileNotFound, IoError, or ModelFormatError for a damaged file or one made with another model.
  static std::shared_ptr<EncodedSource> load(const std::string& path, int64_t hidden_size, int64_t vocab_size,
                                             uint64_t model_fingerprint);

  // The decoder's keys and values of this source, all layers. Made when first needed, by the pass that holds the model.
  const std::optional<SourceCache>& cross_cache() const { return cross_cache_; }
  void set_cross_cache(SourceCache cache) const { cross_cache_ = std::move(cache); }

 private:
  std::vector<int32_t> ids_;
  Buffer hidden_states_;
  int64_t hidden_size_;
  uint64_t model_fingerprint_;
  mutable std::optional<SourceCache> cross_cache_;
};

}  // namespace t5g
