// What is asked about a row of logits: *these ids, the n best, log-sum-exp, or everything*. The answer is small and on
// the host, so that a row of a large vocabulary need not leave the device, nor be computed in full where its device
// knows a shorter way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace t5g {

struct ScoredToken {
  float value;
  int32_t id;
};

// Larger values first, lower ids first among equals: an order without ties, so that no result depends on how somebody
// sorts.
inline bool better(const ScoredToken& a, const ScoredToken& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

// Which logits: as they are, or less the row's log-sum-exp. The difference is rounded, so two logits can become equal:
// who compares log-probabilities has to ask for them.
enum class LogitKind : uint8_t { kLogits, kLogProbabilities };

// kIfComputed: where the backend has had to compute all logits anyway.
enum class LogSumExp : uint8_t { kNo, kIfComputed, kYes };

// A question about one row, and its answer. Kept from step to step, so that asking again allocates nothing.
struct Selection {
  // ---- The question ----
  LogitKind kind = LogitKind::kLogits;
  std::vector<int32_t> ids;  // whose values are asked for, ascending and without repeats; 0 or more
  size_t n_best = 0;         // the largest of all others; -infinity and NaN are never among them
  bool with_ties = false;    // and all that equal the last of them
  // Those that may be among the best: bit i % 32 of word i / 32, none beyond the end. Empty: all may.
  std::span<const uint32_t> allowed;
  size_t n_top = 0;  // the largest of the whole row, whatever else is asked
  LogSumExp log_sum_exp = LogSumExp::kNo;
  std::span<float> all;      // [V] where everything is asked for (as logits), otherwise empty
  bool keep_hidden = false;  // the row's input of the head, where log_sum_exp is not answered

  // ---- The answer ----
  std::vector<float> values;      // [ids.size()], -infinity for ids outside the vocabulary
  std::vector<ScoredToken> best;  // best first,
  std::vector<ScoredToken> top;   // and so are these
  std::optional<float> found_log_sum_exp;
  std::vector<float> hidden;  // [D]

  // Asks for nothing.
  void clear() {
    kind = LogitKind::kLogits;
    ids.clear();
    n_best = 0;
    with_ties = false;
    allowed = {};
    n_top = 0;
    log_sum_exp = LogSumExp::kNo;
    all = {};
    keep_hidden = false;
  }
};

// The k largest values of a row and, with_ties, all that equal the last of them, in the order of better(); `skip`
// (ascending) and values of -infinity or NaN are left out.
void select_best(std::span<const float> row, size_t k, bool with_ties, std::span<const int32_t> skip,
                 std::vector<ScoredToken>& out);

// Makes the values of all tokens that are not allowed -infinity; empty: all are.
void keep_allowed(std::span<float> row, std::span<const uint32_t> allowed);

// Answers everything but `hidden` from all logits of the row, whose log-sum-exp is given where `selection` needs it.
// Changes the row where kind is kLogProbabilities, or not all tokens are allowed.
void answer(std::span<float> row, std::optional<float> log_sum_exp, Selection& selection);

}  // namespace t5g
