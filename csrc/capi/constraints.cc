// Choices are tokenised here, once for a call; a callback is asked where the runtime asks.
#include "capi/constraints.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "capi/handles.h"
#include "sampling/choices.h"

namespace t5g::capi {
namespace {

constexpr size_t kMaxChoices = 1 << 20;

// The caller's function, which knows nothing but the ids that it is given: sequences and beams share it.
class Asked final : public AllowedTokens {
 public:
  Asked(t5g_allowed_callback ask, void* user_data, size_t source, size_t vocab_size)
      : ask_(ask), user_data_(user_data), source_(source), vocab_size_(vocab_size) {}

  void after(std::span<const int32_t> generated, Allowed& allowed) override {
    constexpr size_t kBits = 32;
    const size_t n_words = (vocab_size_ + kBits - 1) / kBits;
    allowed.mask.assign(n_words, 0);
    const int32_t answer = ask_(user_data_, source_, generated.data(), generated.size(), allowed.mask.data(), n_words);
    if (answer == T5G_ALLOW_ALL) return allowed.set_all();
    if (answer == T5G_ALLOW_STOP) throw Cancelled();
    if (answer != T5G_ALLOW_MASK)
      fail("allowed_tokens", "must return one of the constants of t5g.h, returned " + std::to_string(answer) + ".");
    if (const size_t used = vocab_size_ % kBits; used != 0)  // bits beyond stand for no token
      allowed.mask.back() &= (uint32_t{1} << used) - 1;
    allowed.set_mask();
  }

 private:
  const t5g_allowed_callback ask_;
  void* const user_data_;
  const size_t source_;
  const size_t vocab_size_;
};

class Callback final : public Constraint {
 public:
  Callback(const t5g_generate_options& options, size_t source, size_t vocab_size)
      : ask_(options.allowed_tokens), user_data_(options.user_data), source_(source), vocab_size_(vocab_size) {}
  std::unique_ptr<AllowedTokens> begin(const GenerationConfig&, bool) const override {
    return std::make_unique<Asked>(ask_, user_data_, source_, vocab_size_);
  }

 private:
  const t5g_allowed_callback ask_;
  void* const user_data_;
  const size_t source_;
  const size_t vocab_size_;
};

std::shared_ptr<const Constraint> choices_of(const t5g_generate_options& options, const t5g_model& model,
                                             const TextConfig& decoder) {
  if (options.n_choices > kMaxChoices)
    fail("n_choices",
         "is " + std::to_string(options.n_choices) + ", expected at most " + std::to_string(kMaxChoices) + ".");
  required(options.choices, "choices");
  std::vector<std::vector<int32_t>> ids;
  for (size_t i = 0; i < options.n_choices; ++i) {
    const std::string name = "choices[" + std::to_string(i) + "]";
    const std::string_view text = text_argument(options.choices[i], T5G_TO_ZERO, name.c_str());
    if (text.empty()) fail(name, "must be a text of one character or more, is empty.");
    ids.push_back(model.tokenizer->encode(text, {.add_special_tokens = false}));
    Model::check_ids(name, ids.back(), decoder);
  }
  return std::make_shared<Choices>(std::move(ids));
}

}  // namespace

std::vector<std::shared_ptr<const Constraint>> constraints_of(const t5g_generate_options& options,
                                                              const t5g_model& model, size_t n) {
  std::vector<std::shared_ptr<const Constraint>> made(n);
  if (options.n_choices == 0 && options.allowed_tokens == nullptr) return made;
  if (options.n_choices > 0 && options.allowed_tokens != nullptr)
    fail("choices", "are there beside allowed_tokens, but a text has one of them at a time. Leave one out.");
  const Config config = known(model, [](const Model& it) { return it.config(); });
  if (options.n_choices > 0) {
    std::fill(made.begin(), made.end(), choices_of(options, model, config.decoder));
  } else {
    for (size_t i = 0; i < n; ++i)
      made[i] = std::make_shared<Callback>(options, i, static_cast<size_t>(config.vocab_size));
  }
  return made;
}

}  // namespace t5g::capi
