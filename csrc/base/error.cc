// Messages of the errors that carry numbers or quote a file.
#include "base/error.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/os/file.h"
#include "base/printable.h"

namespace t5g {

Error::Error(Message message)
    : std::runtime_error(message.text()), message_(std::make_shared<const Message>(std::move(message))) {}
Error::Error(const std::string& text) : Error(Message(text)) {}
Error::Error(const char* text) : Error(Message(text)) {}

ModelFormatError::ModelFormatError(const std::string& where, const std::string& what)
    : Error(printable(where + ": " + what)) {}

namespace {

// Only sources are cut where a caller wants that.
Message remedy_of_length(const std::string& what) {
  const bool is_target = what.find("target") != std::string::npos || what.find("prefix") != std::string::npos;
  if (is_target)
    return ". Shorten it; nothing is cut silently. Opening the model with " + to_give("max_target_tokens") +
           " sets another limit.";
  return ". Shorten it, or cut it with " + to_give("truncation") +
         "; nothing is cut silently. Opening the model with " + to_give("max_source_tokens") + " sets another limit.";
}

}  // namespace

InputTooLong::InputTooLong(const std::string& what, int64_t n, int64_t max)
    : InvalidArgument(Argument{what} + " has " + std::to_string(n) + " tokens, but the model's limit is " +
                      std::to_string(max) + remedy_of_length(what)),
      n_tokens(n),
      limit(max) {}

IoError::IoError(const std::string& path, const std::string& action, int value)
    : Error(path + ": " + action + " failed: " + std::generic_category().message(value) + "."), errno_value(value) {}

IoError IoError::of_writing(const std::string& path, const std::string& action, int value) {
  const IoError error(path, action, value);
  return {error.what() + remedy_of_writing(value), value};
}

std::string remedy_of_writing(int value) {
  switch (value) {
    case ENOSPC:
      return " Free some space, or write to another folder.";
    case EFBIG:
      return " Write to a folder whose file system takes larger files, or raise the limit of the process (ulimit -f).";
    case EROFS:
      return " It can only be read from: write to another folder.";
    case EACCES:
    case EPERM:
      return " Get the permission to write there, or write to another folder.";
    default:
      return os::is_used_up_quota(value) ? " Free some space, have the quota raised, or write to another folder." : "";
  }
}

}  // namespace t5g
