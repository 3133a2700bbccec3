// Walks the sorted list of choices: those that agree with the text so far are a range of it, which every token narrows.
#include "sampling/choices.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "sampling/generation_config.h"

namespace t5g {
namespace {

class ChosenTokens final : public AllowedTokens {
 public:
  ChosenTokens(std::shared_ptr<const Choices> choices, std::vector<int32_t> ends)
      : choices_(std::move(choices)), ends_(std::move(ends)) {}

  void after(std::span<const int32_t> generated, Allowed& allowed) override {
    std::vector<int32_t> ids;
    next(range(generated), generated.size(), ids);
    allowed.set_few(std::move(ids));
  }

  void forced(std::span<const int32_t> generated, std::vector<int32_t>& tokens) override {
    tokens.clear();
    std::vector<int32_t> ids;
    Choices::Range at = range(generated);
    for (size_t depth = generated.size();; ++depth) {
      const bool complete = next(at, depth, ids);
      if (ids.size() != 1) return;
      tokens.push_back(ids.front());
      if (complete) return;  // that one ends the text
      at = choices_->narrow(at, depth, ids.front());
    }
  }

  size_t n_allowed(std::span<const int32_t> generated, std::span<const int32_t> tokens) override {
    Choices::Range at = range(generated);
    size_t n = 0;
    while (n < tokens.size() && (at = choices_->narrow(at, generated.size() + n, tokens[n])).n > 0) ++n;
    return n;
  }

 private:
  Choices::Range range(std::span<const int32_t> generated) const {
    Choices::Range at = choices_->all();
    for (size_t depth = 0; depth < generated.size() && at.n > 0; ++depth)
      at = choices_->narrow(at, depth, generated[depth]);
    return at;
  }

  // Tokens that may follow, with those that end the text where one is complete.
  bool next(Choices::Range at, size_t depth, std::vector<int32_t>& ids) const {
    const bool complete = choices_->next(at, depth, ids);
    if (complete) ids.insert(ids.end(), ends_.begin(), ends_.end());
    return complete;
  }

  const std::shared_ptr<const Choices> choices_;
  const std::vector<int32_t> ends_;
};

}  // namespace

Choices::Choices(std::vector<std::vector<int32_t>> choices) : sorted_(std::move(choices)) {
  if (sorted_.empty()) throw InvalidArgument(Argument{"choices"} + ": must have one text or more, got none.");
  for (const auto& choice : sorted_) {
    if (choice.empty())
      throw InvalidArgument(Argument{"choices"} + ": a choice must have one token or more, got an empty one.");
  }
  std::sort(sorted_.begin(), sorted_.end());
  sorted_.erase(std::unique(sorted_.begin(), sorted_.end()), sorted_.end());
}

std::unique_ptr<AllowedTokens> Choices::begin(const GenerationConfig& config, bool) const {
  return std::make_unique<ChosenTokens>(shared_from_this(), config.eos_token_ids);
}

Choices::Range Choices::narrow(Range range, size_t depth, int32_t id) const {
  // One that ends here comes first: it is shorter.
  const auto below = [depth](const std::vector<int32_t>& choice, int32_t value) {
    return choice.size() <= depth || choice[depth] < value;
  };
  const auto above = [depth](int32_t value, const std::vector<int32_t>& choice) {
    return choice.size() > depth && value < choice[depth];
  };
  const auto begin = sorted_.begin() + static_cast<std::ptrdiff_t>(range.first);
  const auto end = begin + static_cast<std::ptrdiff_t>(range.n);
  const auto first = std::lower_bound(begin, end, id, below);
  const auto last = std::upper_bound(first, end, id, above);
  return {static_cast<size_t>(first - sorted_.begin()), static_cast<size_t>(last - first)};
}

bool Choices::next(Range range, size_t depth, std::vector<int32_t>& ids) const {
  ids.clear();
  bool complete = false;
  for (Range rest = range; rest.n > 0;) {
    const std::vector<int32_t>& choice = sorted_[rest.first];
    Range same{rest.first, 1};
    if (choice.size() == depth) {
      complete = true;
    } else {
      ids.push_back(choice[depth]);
      same = narrow(rest, depth, choice[depth]);
    }
    rest = {same.first + same.n, rest.first + rest.n - same.first - same.n};
  }
  return complete;
}

}  // namespace t5g
