// Finds stop strings in a text that arrives in pieces, and holds back what might be the beginning of one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace t5g {

// The text ends before the stop string that is complete first (the longest, if several end at the same byte); the stop
// string itself is not part of it. How the text is cut into pieces makes no difference to the result.
class StopMatcher {
 public:
  // Throws InvalidArgument for an empty stop string.
  explicit StopMatcher(std::vector<std::string> stops);

  // Returns the text that has become certain: everything before the stop string once it is found, nothing after that.
  std::string feed(std::string_view piece);

  bool matched() const { return matched_; }

  // The text held back, when generation ends without a stop string.
  std::string flush();

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // [i]: length of the longest proper border of the first i + 1 bytes
    size_t matched = 0;            // bytes of `text` that the end of the input agrees with
  };

  std::vector<Pattern> patterns_;
  std::string held_;  // the end of the input that some pattern begins with
  bool matched_ = false;
};

}  // namespace t5g
