// t5g_generate_options and GenerationConfig, one to the other.
#pragma once

#include <string>
#include <vector>

#include "capi/t5g.h"
#include "sampling/generation_config.h"

namespace t5g::capi {

// What the arrays of options point to.
struct OptionArrays {
  std::vector<t5g_logit_bias> logit_bias;
  std::vector<t5g_token_run> bad_words;
};

// Every option, from a config that lives as long as the options are used, as `arrays` does, which it fills.
t5g_generate_options options_of(const GenerationConfig& config, OptionArrays& arrays);
// Ranges are checked by GenerationConfig::validate(), words here. Throws InvalidArgument.
GenerationConfig config_of(const t5g_generate_options& options);

// What is asked for and has no effect as the rest is; a line for each reason.
std::vector<std::string> without_effect(const GenerationConfig& config);

}  // namespace t5g::capi
