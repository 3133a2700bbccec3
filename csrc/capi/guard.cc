// One place that knows which error has which status.
#include "capi/guard.h"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/printable.h"
#include "base/utf8.h"

namespace t5g::capi {
namespace {

constexpr size_t kMaxCount = INT32_MAX;

thread_local std::string last_message;
// What is said where there is no memory for words.
thread_local const char* fixed_message = nullptr;

t5g_status keep(t5g_status status, const char* message) noexcept {
  try {
    // Only a callback's exception may have brought what is no UTF-8.
    last_message = is_utf8(message) ? message : printable(message);
    fixed_message = nullptr;
  } catch (...) {
    fixed_message = "out of memory, also for the message of an error.";
  }
  return status;
}

}  // namespace

t5g_status status_of_current_exception() noexcept {
  try {
    throw;
  } catch (const InputTooLong& e) {
    return keep(T5G_INPUT_TOO_LONG, e.what());
  } catch (const ModelClosed& e) {
    return keep(T5G_CLOSED, e.what());
  } catch (const InvalidArgument& e) {
    return keep(T5G_INVALID_ARGUMENT, e.what());
  } catch (const FileNotFound& e) {
    return keep(T5G_NOT_FOUND, e.what());
  } catch (const NotFound& e) {
    return keep(T5G_NOT_FOUND, e.what());
  } catch (const IoError& e) {
    return keep(e.errno_value == ENOMEM ? T5G_OUT_OF_MEMORY : T5G_IO_ERROR, e.what());
  } catch (const ModelFormatError& e) {
    return keep(T5G_FORMAT_ERROR, e.what());
  } catch (const Unsupported& e) {
    return keep(T5G_UNSUPPORTED, e.what());
  } catch (const DeviceError& e) {
    return keep(T5G_DEVICE_ERROR, e.what());
  } catch (const OutOfMemory& e) {
    return keep(T5G_OUT_OF_MEMORY, e.what());
  } catch (const std::bad_alloc&) {
    return keep(T5G_OUT_OF_MEMORY, "out of memory. Use a smaller model, a smaller type or a shorter input.");
  } catch (const std::length_error&) {
    return keep(T5G_OUT_OF_MEMORY, "more than the memory can ever hold was asked for. Use a shorter input.");
  } catch (const Cancelled&) {
    return keep(T5G_CANCELLED, "cancelled.");
  } catch (const std::exception& e) {
    return keep(T5G_ERROR, e.what());
  } catch (...) {
    return keep(T5G_ERROR, "a callback has thrown an exception. Callbacks must return normally.");
  }
}

void fail(const std::string& name, const std::string& what) { throw InvalidArgument(Argument{name} + ": " + what); }

void check_bytes(size_t size, const char* name) {
  if (size > size_t{PTRDIFF_MAX}) fail(name, "has " + std::to_string(size) + " bytes, more than any memory has.");
}

void check_items(size_t n, const char* name) {
  if (n > kMaxCount) fail(name, "has " + std::to_string(n) + " items, more than any memory has.");
}

std::string_view text_argument(const char* text, size_t size, const char* name) {
  if (text == nullptr && size != 0) fail(name, "is NULL.");
  if (size != T5G_TO_ZERO) check_bytes(size, name);
  const std::string_view view(text == nullptr ? "" : text, size == T5G_TO_ZERO ? std::strlen(text) : size);
  for (size_t at = 0; at < view.size();) {
    const size_t n = utf8_character_size(view.substr(at));
    if (n == 0) fail(name, "is not UTF-8: byte " + std::to_string(at) + " begins no character.");
    at += n;
  }
  return view;
}

std::string path_argument(const char* path) {
  const std::string copied = &required(path, "path");
  if (copied.empty()) fail("path", "is empty.");
  return copied;
}

void* copy_out(const void* data, size_t size_bytes) {
  auto* copy = static_cast<char*>(std::malloc(size_bytes + 1));
  if (copy == nullptr) throw OutOfMemory("out of memory: could not get " + std::to_string(size_bytes) + " bytes.");
  if (size_bytes > 0) std::memcpy(copy, data, size_bytes);
  copy[size_bytes] = 0;
  return copy;
}

}  // namespace t5g::capi

extern "C" {

const char* t5g_message(void) {
  return t5g::capi::fixed_message != nullptr ? t5g::capi::fixed_message : t5g::capi::last_message.c_str();
}

void t5g_free(void* memory) { std::free(memory); }

const char* t5g_status_name(t5g_status status) {
  constexpr const char* kNames[] = {"T5G_OK",          "T5G_INVALID_ARGUMENT", "T5G_INPUT_TOO_LONG",
                                    "T5G_NOT_FOUND",   "T5G_IO_ERROR",         "T5G_FORMAT_ERROR",
                                    "T5G_UNSUPPORTED", "T5G_DEVICE_ERROR",     "T5G_OUT_OF_MEMORY",
                                    "T5G_CANCELLED",   "T5G_CLOSED",           "T5G_ERROR"};
  const auto index = static_cast<size_t>(status);
  return index < sizeof kNames / sizeof *kNames ? kNames[index] : "unknown";
}

}  // extern "C"
