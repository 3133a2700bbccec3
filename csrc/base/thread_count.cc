// Numbers of threads from environment variables.
#include "base/thread_count.h"

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/cpu_features.h"
#include "base/error.h"
#include "base/printable.h"

namespace t5g {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

std::optional<int> thread_count(std::string_view text) {
  text = trimmed(text);
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 1 || n > kMaxThreads) return std::nullopt;
  return n;
}

// Empty where it is not set.
std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : trimmed(value);
}

}  // namespace

std::optional<int> threads_from_environment() {
  if (const std::string_view own = variable("T5G_NUM_THREADS"); !own.empty()) {
    const std::optional<int> n = thread_count(own);
    if (n) return n;
    throw InvalidArgument("T5G_NUM_THREADS is '" + printable(own) + "', expected a number of threads from 1 to " +
                          std::to_string(kMaxThreads) + ". Unset it for the number of physical cores.");
  }
  const std::string_view openmp = variable("OMP_NUM_THREADS");
  return thread_count(openmp.substr(0, openmp.find(',')));
}

int default_thread_count() { return threads_from_environment().value_or(usable_core_count()); }

}  // namespace t5g
