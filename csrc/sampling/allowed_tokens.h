// What limits a text from outside the table of options: a list of choices, a grammar, a function. It says which tokens
// may come next: *all, these few, or those of a mask*; of few, nothing else is computed.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace t5g {

struct GenerationConfig;

// A set of tokens. Kept from step to step, so that its memory is.
struct Allowed {
  enum class Kind : uint8_t { kAll, kFew, kMask };
  // More are a mask: the rows of the output head that these ask for cost less than a search of all of them.
  static constexpr size_t kMostFew = 512;

  Kind kind = Kind::kAll;
  std::vector<int32_t> ids;    // kFew: ascending, without repeats; none: nothing may follow
  std::vector<uint32_t> mask;  // kMask: bit i % 32 of word i / 32; tokens beyond its end are not in the set

  void set_all() { kind = Kind::kAll; }
  // few: in any order.
  void set_few(std::vector<int32_t> few) {
    kind = Kind::kFew;
    ids = std::move(few);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  }
  // What `mask` has, as the few that they may be.
  void set_mask() {
    kind = Kind::kMask;
    size_t n = 0;
    for (const uint32_t word : mask) n += static_cast<size_t>(std::popcount(word));
    if (n > kMostFew) return;
    kind = Kind::kFew;
    ids.clear();
    for (size_t i = 0; i < mask.size(); ++i) {
      for (uint32_t word = mask[i]; word != 0; word &= word - 1)
        ids.push_back(static_cast<int32_t>(32 * i) + std::countr_zero(word));
    }
  }
  bool has(int32_t id) const {
    if (kind == Kind::kAll) return true;
    if (kind == Kind::kFew) return std::binary_search(ids.begin(), ids.end(), id);
    const auto word = static_cast<size_t>(id) / 32;
    return id >= 0 && word < mask.size() && (mask[word] >> (id % 32) & 1) != 0;
  }
};

// What a constraint says of one sequence, or of the beams of one search, which ask in turn. `generated` are ids after
// the decoder's prompt, none of them ends the text; asked again about the same ids, it answers the same. By one thread
// at a time, not always the same one. Throwing ends the generate call.
class AllowedTokens {
 public:
  virtual ~AllowedTokens() = default;

  // What may follow.
  virtual void after(std::span<const int32_t> generated, Allowed& allowed) = 0;
  // Tokens that must follow, one after the other, as far as that is cheap to know.
  virtual void forced(std::span<const int32_t> generated, std::vector<int32_t>& tokens) {
    static_cast<void>(generated);
    tokens.clear();
  }
  // How many of some tokens may follow, one after the other; none of them ends the text. 0 where it cannot tell.
  virtual size_t n_allowed(std::span<const int32_t> generated, std::span<const int32_t> tokens) {
    static_cast<void>(generated), static_cast<void>(tokens);
    return 0;
  }
};

// Of a whole call: immutable.
class Constraint {
 public:
  virtual ~Constraint() = default;
  // config: of the call, with the tokens that end a text. several: whether sequences ask that have parted.
  virtual std::unique_ptr<AllowedTokens> begin(const GenerationConfig& config, bool several) const = 0;
  // Whether after() takes time of its own, in which the model can work; it then runs on another thread.
  virtual bool runs_beside() const { return false; }
};

}  // namespace t5g
