// Adapters (LoRA) of a model: files that are loaded beside it, and which of them a call uses with what weight.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "model/adapter.h"
#include "model/config.h"
#include "model/weights.h"
#include "ops/backends.h"
#include "runtime/encoded_source.h"

namespace t5g {

// A file that has been read. Immutable.
class Adapter {
 public:
  // What it is read for.
  struct Base {
    const GgufFile& file;
    const Config& config;
    const Weights& weights;
    const Backend& backend;
  };
  // Within a lease. Throws FileNotFound, IoError; ModelFormatError for a file that is no adapter, or one of another
  // base; Unsupported where the device runs none.
  Adapter(const std::string& path, const Base& base);

  // Of all that is in the file: the same for every copy of it.
  uint64_t fingerprint() const { return fingerprint_; }
  const AdapterWeights& weights() const { return weights_; }

 private:
  AdapterWeights weights_;
  uint64_t fingerprint_ = 0;
};

// Those that a call uses, in an order that does not depend on who loaded what first; scales are never 0.
struct ActiveAdapter {
  std::shared_ptr<const Adapter> adapter;
  float scale;
  std::string name;
};
using ActiveAdapters = std::vector<ActiveAdapter>;

// What a source remembers of them.
std::vector<AdapterUse> uses_of(const ActiveAdapters& adapters);

// What a call asks for: these, with their own scale where none is given. Nothing at all: its default.
struct AdapterChoice {
  std::string name;
  std::optional<float> scale;
};
using AdapterChoices = std::optional<std::vector<AdapterChoice>>;

// The adapters that are loaded, by name. Thread-safe; whoever uses one keeps it until then.
class AdapterStore {
 public:
  struct Entry {
    std::string name;
    float scale;
    std::shared_ptr<const Adapter> adapter;
  };

  // Throws InvalidArgument for a name that is taken, or not known.
  void check_free(const std::string& name) const;
  void add(Entry entry);
  void remove(const std::string& name);
  std::vector<Entry> entries() const;

  // Nothing chosen: all of them.
  ActiveAdapters choose(const AdapterChoices& choices) const;
  // Those that a source was made with. Throws InvalidArgument when one is not loaded. what: what the message calls it.
  ActiveAdapters find(const std::vector<AdapterUse>& uses, const std::string& what) const;

 private:
  // With the mutex.
  void require_free(const std::string& name) const;
  std::string known() const;

  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // in the order of loading
};

}  // namespace t5g
