// The tokenizer that a model file carries.
#pragma once

#include <memory>

#include "gguf/reader.h"
#include "model/config.h"
#include "text/tokenizer.h"

namespace t5g {

// Throws ModelFormatError when the arrays are missing, inconsistent or of another size than the model's vocabulary.
std::shared_ptr<const Tokenizer> load_tokenizer(const GgufFile& file, const Config& config);

}  // namespace t5g
