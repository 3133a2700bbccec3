// From the tensors of an adapter's file to products of low rank, each checked against the matrix to which it is added.
#include "runtime/adapter.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/printable.h"
#include "quant/types.h"

namespace t5g {
namespace {

constexpr std::string_view kA = ".lora_a", kB = ".lora_b", kWeight = ".weight";

// FNV-1a.
void mix(uint64_t& hash, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3ull;
}

// Both factors of one product.
struct Pair {
  std::vector<float> a;  // [rank, cols]; of an embedding [V, rank]
  std::vector<float> b;  // [rows, rank]
  int64_t rank;
};

class Reader {
 public:
  Reader(const std::string& path, const Adapter::Base& base) : file_(path), base_(base) {}

  void read(AdapterWeights& weights) {
    check_kind();
    check_base();
    for (const TensorInfo& tensor : file_.tensors()) {
      if (tensor.name.ends_with(kA)) {
        add(weights, tensor.name.substr(0, tensor.name.size() - kA.size()));
      } else if (!tensor.name.ends_with(kB) || file_.find(partner(tensor.name, kB, kA)) == nullptr) {
        file_.fail_tensor(tensor.name, "is no half of a pair lora_a and lora_b. Convert the adapter again.");
      }
    }
    if (weights.is_empty())
      throw ModelFormatError(file_.name(), "has nothing for this model. It is an adapter of a part that is not there.");
  }

  uint64_t fingerprint() const { return fingerprint_; }

 private:
  static std::string partner(std::string_view name, std::string_view from, std::string_view to) {
    return std::string(name.substr(0, name.size() - from.size())) + std::string(to);
  }

  void check_kind() const {
    const std::string_view kind = file_.find_string("general.type").value_or("model");
    if (kind != "adapter" || file_.find_string("adapter.type").value_or("lora") != "lora") {
      file_.fail_key("general.type", "is '" + std::string(kind) +
                                         "', expected a LoRA 'adapter'. t5g-convert ADAPTER_DIR --adapter makes one.");
    }
    const std::string_view arch = file_.get_string("general.architecture");
    const std::string_view expected = base_.file.get_string("general.architecture");
    if (arch != expected) {
      file_.fail_key("general.architecture", "is '" + std::string(arch) + "', but the model is a '" +
                                                 std::string(expected) + "'. Load the adapter of this model.");
    }
  }

  // Where both files know which checkpoint they come from.
  void check_base() const {
    for (const char* side : {"encoder", "decoder"}) {
      const std::string key = std::string("t5g.fingerprint.") + side;
      const auto made_for = file_.find_string(key), found = base_.file.find_string(key);
      if (made_for && found && *made_for != *found) {
        file_.fail_key(key, "is '" + std::string(*made_for) + "', but the model's is '" + std::string(*found) +
                                "': the adapter was trained on another base. Convert and load that one.");
      }
    }
  }

  void add(AdapterWeights& weights, std::string_view stem) {
    std::string name(stem);
    if (name.ends_with(kWeight)) name.resize(name.size() - kWeight.size());
    const Config& config = base_.config;
    if (name == "enc.token_embd") {
      weights.encoder_embedding = embedding(stem, config.encoder.vocab_size, config.encoder.hidden_size);
      return;
    }
    // An encoder alone takes what is its own of an adapter of the whole.
    const bool is_decoders = name.starts_with("dec.") || name == "token_embd" || name == "output";
    if (is_decoders && !config.has_decoder) return;
    if (name == "token_embd") {
      weights.decoder_embedding = embedding(stem, config.vocab_size, config.decoder.hidden_size);
      return;
    }
    const LoadedWeight* to = name == "output" ? base_.weights.lm_head.get() : find_matrix(name);
    if (to == nullptr) file_.fail_tensor(std::string(stem) + std::string(kA), "is for a matrix that the model lacks.");
    const Pair pair = read_pair(stem, to->rows(), to->cols());
    weights.has_vision |= name.starts_with("v.") || name.starts_with("mm.");
    weights.add(*to, {base_.backend.ops->load_low_rank(pair.a, pair.b, pair.rank), scale(pair.rank)});
  }

  const LoadedWeight* find_matrix(const std::string& name) const {
    const auto found = base_.weights.matrices.find(name);
    return found == base_.weights.matrices.end() ? nullptr : found->second;
  }

  // As llama.cpp has it: alpha / rank, or 1 where there is no alpha.
  float scale(int64_t rank) const {
    const float alpha = file_.find_f32("adapter.lora.alpha").value_or(0.0f);
    return alpha == 0.0f ? 1.0f : alpha / static_cast<float>(rank);
  }

  Pair read_pair(std::string_view stem, int64_t rows, int64_t cols) {
    const TensorInfo& a = matrix(std::string(stem) + std::string(kA));
    const TensorInfo& b = matrix(std::string(stem) + std::string(kB));
    const int64_t rank = a.shape[0];
    check_shape(a, {rank, cols}, rows, cols);
    check_shape(b, {rows, rank}, rows, cols);
    return {values(a), values(b), rank};
  }

  AdapterWeights::Embedding embedding(std::string_view stem, int64_t vocab_size, int64_t width) {
    const TensorInfo& a = matrix(std::string(stem) + std::string(kA));
    const TensorInfo& b = matrix(std::string(stem) + std::string(kB));
    const int64_t rank = a.shape[1];
    check_shape(a, {vocab_size, rank}, vocab_size, width);
    check_shape(b, {width, rank}, vocab_size, width);
    const std::vector<float> table = values(a);
    auto copy = std::make_shared<Buffer>(table.size() * sizeof(float));
    std::copy(table.begin(), table.end(), copy->floats());
    WeightView view{.type = DataType::kF32, .rows = vocab_size, .cols = rank};
    view.bytes = {copy->data(), copy->size_bytes()};
    view.copy = std::move(copy);
    std::vector<float> identity(static_cast<size_t>(rank * rank));
    for (int64_t i = 0; i < rank; ++i) identity[static_cast<size_t>(i * rank + i)] = 1.0f;
    Ops& ops = *base_.backend.ops;
    return {ops.load_table(view), ops.load_low_rank(identity, values(b), rank),
            Floats(*base_.backend.device, ops.block_rows(), rank), scale(rank)};
  }

  const TensorInfo& matrix(const std::string& name) const {
    const TensorInfo& tensor = file_.tensor(name);
    if (tensor.shape.size() != 2) file_.fail_tensor(name, "has not two dimensions. Convert the adapter again.");
    return tensor;
  }

  // rows, cols: of the matrix that the pair is for.
  void check_shape(const TensorInfo& tensor, const std::vector<int64_t>& expected, int64_t rows, int64_t cols) const {
    if (tensor.shape == expected) return;
    const auto words = [](const std::vector<int64_t>& shape) {
      return "[" + std::to_string(shape[0]) + ", " + std::to_string(shape[1]) + "]";
    };
    file_.fail_tensor(tensor.name, "has shape " + words(tensor.shape) + ", expected " + words(expected) +
                                       " for the model's matrix " + words({rows, cols}) +
                                       ": it is an adapter of another model.");
  }

  std::vector<float> values(const TensorInfo& tensor) {
    std::vector<std::byte> bytes(tensor.size_bytes);
    file_.read(tensor, 0, bytes);
    mix(fingerprint_, std::as_bytes(std::span(tensor.name.data(), tensor.name.size())));
    mix(fingerprint_, bytes);
    std::vector<float> out(static_cast<size_t>(tensor.rows() * tensor.cols()));
    for (int64_t row = 0; row < tensor.rows(); ++row) {
      dequantize_row(tensor.type, bytes.data() + static_cast<size_t>(row) * row_bytes(tensor.type, tensor.cols()),
                     tensor.cols(), out.data() + row * tensor.cols());
    }
    if (!std::all_of(out.begin(), out.end(), [](float value) { return std::isfinite(value); }))
      file_.fail_tensor(tensor.name, "holds NaN or infinite values.");
    return out;
  }

  const GgufFile file_;
  const Adapter::Base& base_;
  uint64_t fingerprint_ = 0xcbf29ce484222325ull;
};

void sort(ActiveAdapters& adapters) {
  std::ranges::stable_sort(
      adapters, {}, [](const ActiveAdapter& active) { return std::pair(active.adapter->fingerprint(), active.scale); });
}

}  // namespace

Adapter::Adapter(const std::string& path, const Base& base) {
  Reader reader(path, base);
  reader.read(weights_);
  fingerprint_ = reader.fingerprint();
}

std::vector<AdapterUse> uses_of(const ActiveAdapters& adapters) {
  std::vector<AdapterUse> uses;
  for (const ActiveAdapter& active : adapters)
    uses.push_back({active.adapter->fingerprint(), active.scale, active.name});
  return uses;
}

void AdapterStore::require_free(const std::string& name) const {
  if (std::ranges::find(entries_, name, &Entry::name) != entries_.end()) {
    throw InvalidArgument("the adapter '" + printable(name) + "' is loaded already. Give another " + to_give("name") +
                          ", or unload it first.");
  }
}

void AdapterStore::check_free(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  require_free(name);
}

void AdapterStore::add(Entry entry) {
  const std::lock_guard lock(mutex_);
  require_free(entry.name);
  entries_.push_back(std::move(entry));
}

void AdapterStore::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (std::erase_if(entries_, [&](const Entry& entry) { return entry.name == name; }) == 0)
    throw InvalidArgument("no adapter '" + printable(name) + "' is loaded. " + known());
}

std::vector<AdapterStore::Entry> AdapterStore::entries() const {
  const std::lock_guard lock(mutex_);
  return entries_;
}

std::string AdapterStore::known() const {
  if (entries_.empty()) return "There is none: load_adapter() loads one.";
  std::string list = "There are:";
  for (const Entry& entry : entries_) list += (list.back() == ':' ? " '" : ", '") + printable(entry.name) + "'";
  return list + ".";
}

ActiveAdapters AdapterStore::choose(const AdapterChoices& choices) const {
  const std::lock_guard lock(mutex_);
  ActiveAdapters active;
  const auto use = [&](const Entry& entry, float scale) {
    if (scale != 0.0f) active.push_back({entry.adapter, scale, entry.name});
  };
  if (!choices) {
    for (const Entry& entry : entries_) use(entry, entry.scale);
  } else {
    for (const AdapterChoice& choice : *choices) {
      const auto found = std::ranges::find(entries_, choice.name, &Entry::name);
      if (found == entries_.end())
        throw InvalidArgument(Argument{"adapters"} + ": '" + printable(choice.name) + "' is not loaded. " + known());
      use(*found, choice.scale.value_or(found->scale));
    }
  }
  sort(active);
  return active;
}

ActiveAdapters AdapterStore::find(const std::vector<AdapterUse>& uses, const std::string& what) const {
  const std::lock_guard lock(mutex_);
  ActiveAdapters active;
  for (const AdapterUse& use : uses) {
    const auto found =
        std::ranges::find(entries_, use.fingerprint, [](const Entry& entry) { return entry.adapter->fingerprint(); });
    if (found == entries_.end()) {
      throw InvalidArgument(Argument{what} + " was encoded with the adapter '" + printable(use.name) +
                            "', which is not loaded. Load it again, or encode the source without it.");
    }
    active.push_back({found->adapter, use.scale, found->name});
  }
  sort(active);
  return active;
}

}  // namespace t5g
