// The longest match wins; among equals the first in the source, whose continuation is then likely to be the text's.
#include "runtime/drafter.h"

#include <algorithm>

namespace t5g {
namespace {

// Longer matches are not told apart.
constexpr size_t kLongestMatch = 8;
constexpr size_t kMostDrafted = 12;
// Right tokens at a time that pay for the wrong ones: a pass over a few tokens takes that much longer than over one.
constexpr double kPays = 0.6;
constexpr int kMostPatience = 32;
constexpr double kWeightOfLast = 0.3;

struct Match {
  std::span<const int32_t> tokens;
  size_t next = 0;    // index in `tokens` of what follows
  size_t length = 0;  // tokens before it that agree with the end of the text
};

void look(std::span<const int32_t> tokens, std::span<const int32_t> text, Match& best) {
  for (size_t next = 1; next < tokens.size(); ++next) {
    if (tokens[next - 1] != text.back()) continue;
    const size_t most = std::min({kLongestMatch, next, text.size()});
    size_t length = 1;
    while (length < most && tokens[next - 1 - length] == text[text.size() - 1 - length]) ++length;
    if (length > best.length) best = {tokens, next, length};
  }
}

}  // namespace

size_t Drafter::how_many(Record& record) const {
  if (record.right >= kPays) return std::min(kMostDrafted, static_cast<size_t>(1.5 * record.right + 0.5));
  if (++record.unused < record.patience) return 0;
  record.unused = 0;
  record.patience = std::min(2 * record.patience, kMostPatience);
  return 2;
}

void Drafter::draft(std::span<const int32_t> source, std::span<const int32_t> text, size_t most,
                    std::vector<int32_t>& drafted) {
  drafted.clear();
  if (most == 0 || text.empty()) return;
  Match match;
  look(source, text, match);
  look(text, text, match);
  if (match.length == 0) return;
  kind_ = std::min(match.length, kKinds) - 1;
  const auto rest = match.tokens.subspan(match.next);
  n_drafted_ = std::min({how_many(records_[kind_]), most, rest.size()});
  drafted.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(n_drafted_));
}

void Drafter::learn(size_t n_right) {
  Record& record = records_[kind_];
  // All right: there was more to be had.
  const double right =
      static_cast<double>(n_right) + (n_right == n_drafted_ ? 0.5 * static_cast<double>(n_right) + 1 : 0);
  record.right += kWeightOfLast * (right - record.right);
  if (record.right >= kPays) record.patience = 1;
}

}  // namespace t5g
