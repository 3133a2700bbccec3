// Messages of the errors that carry numbers or quote a file.
#include "base/error.h"

#include <system_error>

#include "base/printable.h"

namespace t5g {

ModelFormatError::ModelFormatError(const std::string& where, const std::string& what)
    : Error(printable(where + ": " + what)) {}

InputTooLong::InputTooLong(const std::string& side, int64_t n, int64_t max)
    : InvalidArgument(side + " has " + std::to_string(n) + " tokens, but the model's limit is " + std::to_string(max) +
                      ". Shorten it, or cut it with truncation=; nothing is cut silently. max_source_tokens= and "
                      "max_target_tokens= of the model set other limits."),
      n_tokens(n),
      limit(max) {}

IoError::IoError(const std::string& path, const std::string& action, int value)
    : Error(path + ": " + action + " failed: " + std::generic_category().message(value) + "."), errno_value(value) {}

}  // namespace t5g
