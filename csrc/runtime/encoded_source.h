// A source that has been read: its tokens and final hidden states, to be used by any number of calls, threads and
// models of one file. Immutable: what a model derives from it is kept by that model (see SourceCacheStore).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "tensor/state_rows.h"

namespace t5g {

// An adapter that took part in making hidden states.
struct AdapterUse {
  uint64_t fingerprint;
  float scale;
  std::string name;  // that it had then, for messages

  bool is_same(const AdapterUse& other) const { return fingerprint == other.fingerprint && scale == other.scale; }
};

// What hidden states depend on beside the source itself.
struct SourceOrigin {
  static constexpr int kFinal = -1;

  uint64_t model_fingerprint = 0;
  // Tokens to the left that an encoder layer with a sliding window sees: what the option encoder_window changes.
  int64_t sliding_reach = 0;
  int layer = kFinal;                  // after how many layers, without the final norm; kFinal: all, and the norm
  std::vector<AdapterUse> adapters{};  // in the order of ActiveAdapters

  // Whether both encode a source of so many tokens to the same bits: no window cuts a source that it holds whole.
  bool agrees_on_window(const SourceOrigin& other, int64_t n_tokens) const {
    return sliding_reach == other.sliding_reach || n_tokens - 1 <= std::min(sliding_reach, other.sliding_reach);
  }
};

// Somebody who keeps what was derived from sources, and hears when one is gone.
class SourceObserver {
 public:
  virtual ~SourceObserver() = default;
  // From any thread.
  virtual void source_gone(uint64_t source_id) = 0;
};

class EncodedSource {
 public:
  // hidden_states: a row for each id, and then those of padding. n_truncated: tokens that the caller had cut away.
  EncodedSource(std::vector<int32_t> ids, StateRows hidden_states, const SourceOrigin& origin, int64_t n_truncated = 0);
  ~EncodedSource();
  EncodedSource(const EncodedSource&) = delete;
  EncodedSource& operator=(const EncodedSource&) = delete;

  const std::vector<int32_t>& ids() const { return ids_; }
  // [S, D], in the host's memory: so that a source can be saved, and used on any device.
  const StateRows& hidden_states() const { return hidden_states_; }
  // The same, with rows for padding after the source's own.
  const StateRows& padded_hidden_states() const { return padded_; }
  int64_t n_padding() const { return padded_.rows() - hidden_states_.rows(); }
  int64_t hidden_size() const { return hidden_states_.cols(); }
  const SourceOrigin& origin() const { return origin_; }
  int64_t n_truncated() const { return n_truncated_; }

  // Another one for every source of the process.
  uint64_t id() const { return id_; }
  // Tells the observer, if it is still there, when this source is destroyed.
  void observe(const std::weak_ptr<SourceObserver>& observer) const;

  // Writes a file that only the same model accepts; complete or not at all. Throws IoError.
  void save(const std::string& path) const;

  // What save() writes.
  std::vector<std::byte> to_bytes() const;

  // What a model expects of a file.
  struct Expected {
    SourceOrigin origin;
    int64_t reach_of_all;  // the shortest sliding_reach that any model of the file has
    int64_t hidden_size;
    int64_t vocab_size;
  };
  // Throws FileNotFound, IoError, or ModelFormatError for a damaged file or one made with another model or window.
  static std::shared_ptr<EncodedSource> load(const std::string& path, const Expected& expected);
  // The same of a file in memory.
  static std::shared_ptr<EncodedSource> from_bytes(std::span<const std::byte> bytes, const Expected& expected);

 private:
  const uint64_t id_;
  const std::vector<int32_t> ids_;
  const StateRows padded_, hidden_states_;  // of one memory
  const SourceOrigin origin_;
  const int64_t n_truncated_;
  mutable std::mutex observers_mutex_;
  mutable std::vector<std::weak_ptr<SourceObserver>> observers_;
};

}  // namespace t5g
