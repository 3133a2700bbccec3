// The wall between C++ and C: inside, errors are exceptions; outside, they are a status and a message of the thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"
#include "capi/t5g.h"

namespace t5g::capi {

// Of the exception that is being handled; keeps its message for t5g_message().
t5g_status status_of_current_exception() noexcept;

// Runs body(), and makes what it throws a status.
template <class Body>
t5g_status guarded(Body&& body) noexcept {
  try {
    body();
    return T5G_OK;
  } catch (...) {
    return status_of_current_exception();
  }
}

// A metadata key that is not there: T5G_NOT_FOUND.
class NotFound : public Error {
 public:
  using Error::Error;
};

[[noreturn]] void fail(const std::string& name, const std::string& what);

// An argument that must not be NULL. name: what messages call it.
template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr) fail(name, "is NULL.");
  return *pointer;
}

// So many bytes or items as no memory holds are a mistake of the caller's, who has counted down from 0, say.
void check_bytes(size_t size, const char* name);
void check_items(size_t n, const char* name);

// A text that comes in, checked for UTF-8. size: T5G_TO_ZERO, or bytes.
std::string_view text_argument(const char* text, size_t size, const char* name);

// A path that comes in: what is no UTF-8 is still a path on POSIX, and messages make it printable.
std::string path_argument(const char* path);

// Memory for the caller, who gives it back with t5g_free(): a copy of so many bytes and a zero byte behind them.
void* copy_out(const void* data, size_t size_bytes);

}  // namespace t5g::capi
