// Knuth-Morris-Pratt, one automaton per stop string: constant work per byte and nothing read twice. The bytes held back
// are those of the automaton that is furthest along.
#include "sampling/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace t5g {
namespace {

// The new match length after one more byte. `matched` is less than the length of the text.
size_t advance(std::string_view text, const std::vector<size_t>& fallback, size_t matched, char byte) {
  while (matched > 0 && text[matched] != byte) matched = fallback[matched - 1];
  return text[matched] == byte ? matched + 1 : 0;
}

std::vector<size_t> make_fallback(std::string_view text) {
  std::vector<size_t> fallback(text.size(), 0);
  for (size_t i = 1; i < text.size(); ++i) fallback[i] = advance(text, fallback, fallback[i - 1], text[i]);
  return fallback;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    if (text.empty()) throw InvalidArgument(Argument{"stop"} + ": a stop string must not be empty.");
    std::vector<size_t> fallback = make_fallback(text);
    patterns_.push_back({std::move(text), std::move(fallback)});
  }
}

std::string StopMatcher::feed(std::string_view piece) {
  if (matched_ || piece.empty()) return {};
  std::string text = std::exchange(held_, {});
  size_t partial = 0;
  for (const char byte : piece) {
    text.push_back(byte);
    size_t complete = 0;
    partial = 0;
    for (Pattern& p : patterns_) {
      p.matched = advance(p.text, p.fallback, p.matched, byte);
      partial = std::max(partial, p.matched);
      if (p.matched == p.text.size()) complete = std::max(complete, p.matched);
    }
    if (complete > 0) {
      matched_ = true;
      text.resize(text.size() - complete);
      return text;
    }
  }
  held_ = text.substr(text.size() - partial);
  text.resize(text.size() - partial);
  return text;
}

// The automata start over, so that a matcher can be fed again after its text has been given out.
std::string StopMatcher::flush() {
  for (Pattern& p : patterns_) p.matched = 0;
  return std::exchange(held_, {});
}

}  // namespace t5g
