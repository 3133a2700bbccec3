// The one family of errors that t5g throws. A message reads "where: what is wrong, expected and found. What to do."
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "base/message.h"

namespace t5g {

// Root of the family; becomes t5g.T5gError in Python. what() names arguments as C does, others ask for message().
class Error : public std::runtime_error {
 public:
  explicit Error(Message message);
  explicit Error(const std::string& text);
  explicit Error(const char* text);
  const Message& message() const { return *message_; }

 private:
  std::shared_ptr<const Message> message_;  // shared, because copies of an exception must not throw
};

// A file that is not what it must be: damaged, of another architecture, inconsistent. Python: t5g.ModelFormatError.
class ModelFormatError : public Error {
 public:
  // where: "model.gguf", or "model.gguf: tensor 'token_embd.weight'"; what: the finding and the remedy. Both may quote
  // the file: the message is made printable.
  ModelFormatError(const std::string& where, const std::string& what);
};

// A caller's argument outside its range. Python: t5g.InvalidArgumentError, also a ValueError.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

// A model was closed, and what was asked for needs it. Python: t5g.InvalidArgumentError, also a ValueError.
class ModelClosed : public InvalidArgument {
 public:
  ModelClosed() : InvalidArgument("the model is closed.") {}
  using InvalidArgument::InvalidArgument;
};

// A source or target longer than the model's limit: nothing is ever cut silently. Python: t5g.InputTooLongError.
class InputTooLong : public InvalidArgument {
 public:
  // what: the argument that is too long, which says whether it is a source or a target.
  InputTooLong(const std::string& what, int64_t n_tokens, int64_t limit);
  int64_t n_tokens;
  int64_t limit;
};

// Python: FileNotFoundError.
class FileNotFound : public Error {
 public:
  explicit FileNotFound(const std::string& path) : Error(path + ": no such file.") {}
};

// The operating system refused: permission, a full disk, no memory to map. Python: OSError.
class IoError : public Error {
 public:
  // errno_value: the errno of the failed call, whose text is appended.
  IoError(const std::string& path, const std::string& action, int errno_value);
  // Of writing: what to do about it is said too.
  static IoError of_writing(const std::string& path, const std::string& action, int errno_value);
  // With the whole message.
  IoError(const std::string& whole, int value) : Error(whole), errno_value(value) {}
  int errno_value;
};

// What to do about a full disk and the like: a sentence with a space in front, or nothing where nothing is known.
std::string remedy_of_writing(int errno_value);

// What is asked for needs more memory than there is. Python: t5g.OutOfMemoryError, also a MemoryError.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// The caller asked to stop (Ctrl-C, Stream.cancel).
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

// A device or CPU level that this build or machine does not have. Python: t5g.UnsupportedError, also a RuntimeError.
class Unsupported : public Error {
 public:
  using Error::Error;
};

// A device that is there and has failed in use: out of memory, lost. Python: t5g.DeviceError, also a RuntimeError.
class DeviceError : public Error {
 public:
  using Error::Error;
};

}  // namespace t5g
