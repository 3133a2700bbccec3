// The options of generation that a file asks for: those of a call that are not given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"
#include "sampling/generation_config.h"

namespace t5g {

struct GenerationDefaults {
  std::vector<std::string_view> names;  // of the options that the file has, in the order of the table
  GenerationConfig config;              // these, and the table's defaults for all others
  std::vector<std::string> stop;        // texts that end a text
};

// Reads `ARCHITECTURE.generation.OPTION` for every option of the table, and `...stop`. Throws ModelFormatError for
// values that no call could have.
GenerationDefaults load_generation_defaults(const GgufFile& file);

}  // namespace t5g
