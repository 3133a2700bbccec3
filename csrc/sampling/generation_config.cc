// Checks of the options: each against its row of the table, then those that exclude one another.
#include "sampling/generation_config.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "sampling/options.h"

namespace t5g {
namespace {

using sampling::Option;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

// The largest float is no limit of anybody's, unless a value is beyond it.
std::string range(const Option& option, double value) {
  if (option.min <= -sampling::kMaxReal) return "finite";
  const std::string low = (option.min_excluded ? "more than " : "at least ") + number(option.min);
  const bool is_beyond = std::isfinite(value) && value > option.max;
  if (option.max == sampling::kMaxReal && !is_beyond) return low + " and finite";
  return option.max == sampling::kMaxInt ? low : low + " and at most " + number(option.max);
}

void check_range(const Option& option, double value) {
  // Written so that NaN fails.
  const bool above = option.min_excluded ? value > option.min : value >= option.min;
  if (above && value <= option.max) return;
  throw InvalidArgument(Argument{option.name} + ": must be " + range(option, value) + ", got " + number(value) + ".");
}

void check_id(const Option& option, int32_t id) {
  if (id < 0)
    throw InvalidArgument(Argument{option.name} + ": token ids are never negative, got " + std::to_string(id) + ".");
}

// ---- One check for each type of field ------------------------------------------------------------------------------

void check(const Option& option, int32_t value) { check_range(option, value); }
void check(const Option& option, double value) { check_range(option, value); }
void check(const Option& option, const std::optional<int32_t>& id) {
  if (id) check_id(option, *id);
}
void check(const Option& option, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) check_id(option, id);
}
void check(const Option& option, const std::vector<std::vector<int32_t>>& several) {
  for (const std::vector<int32_t>& ids : several) {
    if (ids.empty()) throw InvalidArgument(Argument{option.name} + ": has an empty one, which is in every text.");
    check(option, ids);
  }
}
void check(const Option& option, const std::vector<LogitBias>& biases) {
  for (const LogitBias& bias : biases) {
    check_id(option, bias.token);
    // Written so that NaN fails.
    if (!(bias.bias <= sampling::kMaxReal)) {
      throw InvalidArgument(Argument{option.name} + ": a bias must be finite, or -infinity, got " + number(bias.bias) +
                            " for token " + std::to_string(bias.token) + ".");
    }
  }
}
// Types that admit nothing wrong.
void check(const Option&, const std::optional<uint64_t>&) {}
void check(const Option&, EarlyStopping) {}
void check(const Option&, Draft) {}

}  // namespace

void GenerationConfig::validate() const {
  for (const Option& option : sampling::kOptions) {
    std::visit([&](auto field) { check(option, this->*field); }, option.field);
  }

  const std::string sequences = std::to_string(num_return_sequences);
  if (min_new_tokens > max_new_tokens) {
    throw InvalidArgument(Argument{"min_new_tokens"} + ": must be at most " + Argument{"max_new_tokens"} + " = " +
                          std::to_string(max_new_tokens) + ", got " + std::to_string(min_new_tokens) + ".");
  }
  if (uses_beams() && samples()) {
    throw InvalidArgument(Argument{"num_beams"} + ": beam search does not sample, got " + Argument{"num_beams"} +
                          " = " + std::to_string(num_beams) + " with " + Argument{"temperature"} + " = " +
                          number(temperature) + ". Set one of them to its default.");
  }
  if (uses_beams() && num_return_sequences > num_beams) {
    throw InvalidArgument(Argument{"num_return_sequences"} + ": must be at most " + Argument{"num_beams"} + " = " +
                          std::to_string(num_beams) + ", got " + sequences + ".");
  }
  if (!uses_beams() && !samples() && num_return_sequences > 1) {
    throw InvalidArgument(Argument{"num_return_sequences"} + ": greedy decoding finds one sequence, got " + sequences +
                          ". Set " + Argument{"temperature"} + " above 0 to sample several, or " +
                          Argument{"num_beams"} + " to search for several.");
  }
  if (alternatives > 0 && (uses_beams() || samples() || num_return_sequences > 1)) {
    throw InvalidArgument(
        Argument{"alternatives"} +
        ": their first tokens are the likeliest ones, and each goes on greedily, which goes with neither " +
        Argument{"num_beams"} + " nor " + Argument{"temperature"} + " nor " + Argument{"num_return_sequences"} +
        ". Set these to their defaults.");
  }
}

bool GenerationConfig::is_eos(int32_t token_id) const {
  return std::find(eos_token_ids.begin(), eos_token_ids.end(), token_id) != eos_token_ids.end();
}

uint64_t resolve_seed(const GenerationConfig& config) { return config.seed ? *config.seed : random_number(); }

}  // namespace t5g
