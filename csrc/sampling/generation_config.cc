// Checks of the options: each against its row of the table, then those that exclude one another.
#include "sampling/generation_config.h"

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>

#include "base/error.h"
#include "sampling/options.h"

namespace t5g {
namespace {

using sampling::Option;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

std::string range(const Option& option) {
  if (option.min <= -sampling::kMaxReal) return "finite";
  const std::string low = (option.min_excluded ? "more than " : "at least ") + number(option.min);
  if (option.max == sampling::kMaxReal) return low + " and finite";
  return option.max == sampling::kMaxInt ? low : low + " and at most " + number(option.max);
}

void check_range(const Option& option, double value) {
  // Written so that NaN fails.
  const bool above = option.min_excluded ? value > option.min : value >= option.min;
  if (above && value <= option.max) return;
  throw InvalidArgument(std::string(option.name) + ": must be " + range(option) + ", got " + number(value) + ".");
}

void check_ids(const char* name, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    if (id < 0)
      throw InvalidArgument(std::string(name) + ": token ids are never negative, got " + std::to_string(id) + ".");
  }
}

}  // namespace

void GenerationConfig::validate() const {
  for (const Option& option : sampling::kOptions) {
    if (const auto* integer = std::get_if<int32_t GenerationConfig::*>(&option.field)) {
      check_range(option, this->**integer);
    } else if (const auto* real = std::get_if<double GenerationConfig::*>(&option.field)) {
      check_range(option, this->**real);
    }
  }
  check_ids("eos_token_ids", eos_token_ids);
  check_ids("suppress_token_ids", suppress_token_ids);

  const std::string sequences = std::to_string(num_return_sequences);
  if (min_new_tokens > max_new_tokens) {
    throw InvalidArgument("min_new_tokens: must be at most max_new_tokens = " + std::to_string(max_new_tokens) +
                          ", got " + std::to_string(min_new_tokens) + ".");
  }
  if (uses_beams() && samples()) {
    throw InvalidArgument("num_beams: beam search does not sample, got num_beams = " + std::to_string(num_beams) +
                          " with temperature = " + number(temperature) + ". Set one of them to its default.");
  }
  if (uses_beams() && num_return_sequences > num_beams) {
    throw InvalidArgument("num_return_sequences: must be at most num_beams = " + std::to_string(num_beams) + ", got " +
                          sequences + ".");
  }
  if (!uses_beams() && !samples() && num_return_sequences > 1) {
    throw InvalidArgument("num_return_sequences: greedy decoding finds one sequence, got " + sequences +
                          ". Set temperature above 0 to sample several, or num_beams to search for several.");
  }
}

bool GenerationConfig::is_eos(int32_t token_id) const {
  return std::find(eos_token_ids.begin(), eos_token_ids.end(), token_id) != eos_token_ids.end();
}

uint64_t resolve_seed(const GenerationConfig& config) {
  if (config.seed) return *config.seed;
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace t5g
