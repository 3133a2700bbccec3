// What kernels.inc says about the parameters of a kernel on plain numbers, for tests, benchmarks and bindings, which
// call such kernels without knowing them.
//
// "x[n] weight[n] eps=1e-6 n -> out[n]": the parameters in their order. x[n] is an array, n the parameter that counts
// its values; [n/2] is half of them, of a number that can be halved, [n~2] as many rounded up to an even number. eps is
// a number, with what tests and benchmarks give for it. Behind the arrow are the arrays that are written: parameters
// that come last, or the name of an earlier one that is changed in place.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace t5g::kernels {

struct Parameter {
  std::string_view name;
  std::string_view counted_by;  // of an array: another parameter
  int64_t divisor = 1;
  int64_t multiple = 1;
  std::string_view typical;  // of a number
  bool is_given = true;      // the kernel reads it
  bool is_written = false;

  constexpr bool is_array() const { return !counted_by.empty(); }
  constexpr bool is_plain() const { return divisor == 1 && multiple == 1; }
  // Values of the array, given the number that counts them.
  constexpr int64_t size(int64_t count) const { return (count / divisor + multiple - 1) / multiple * multiple; }
};

struct Shapes {
  std::array<Parameter, 8> parameters;
  size_t n = 0;

  constexpr const Parameter* begin() const { return parameters.data(); }
  constexpr const Parameter* end() const { return parameters.data() + n; }
  constexpr size_t index_of(std::string_view name) const {
    size_t i = 0;
    while (i < n && parameters[i].name != name) ++i;
    return i;
  }
  // Whether the parameter counts the values of an array.
  constexpr bool is_count(std::string_view name) const {
    for (const Parameter& p : *this) {
      if (p.counted_by == name) return true;
    }
    return false;
  }
  // What the numbers that count values must be divisible by.
  constexpr int64_t granule() const {
    int64_t all = 1;
    for (const Parameter& p : *this) all = all % p.divisor == 0 ? all : all * p.divisor;
    return all;
  }
};

// "cosines[head_dim/2]" -> its parts.
constexpr Parameter parse_parameter(std::string_view word) {
  Parameter p;
  p.name = word.substr(0, word.find_first_of("[="));
  if (word.size() == p.name.size()) return p;
  if (word[p.name.size()] == '=') {
    p.typical = word.substr(p.name.size() + 1);
    return p;
  }
  const std::string_view size = word.substr(p.name.size() + 1, word.size() - p.name.size() - 2);
  p.counted_by = size.substr(0, size.find_first_of("/~"));
  if (size.size() == p.counted_by.size()) return p;
  int64_t number = 0;
  for (const char digit : size.substr(p.counted_by.size() + 1)) number = 10 * number + (digit - '0');
  (size[p.counted_by.size()] == '/' ? p.divisor : p.multiple) = number;
  return p;
}

constexpr Shapes parse_shapes(std::string_view text) {
  Shapes shapes;
  bool written = false;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(word.size() < text.size() ? word.size() + 1 : word.size());
    if (word == "->") {
      written = true;
      continue;
    }
    Parameter p = parse_parameter(word);
    const size_t earlier = shapes.index_of(p.name);
    if (earlier < shapes.n) {
      shapes.parameters[earlier].is_written = true;
      continue;
    }
    p.is_given = !written;
    p.is_written = written;
    shapes.parameters[shapes.n++] = p;
  }
  return shapes;
}

// Whether a kernel has these parameters: as many, pointers for arrays, and to what is not const for those written.
template <typename Result, typename... P>
constexpr bool describes(const Shapes& shapes, Result (*)(P...)) {
  if (shapes.n != sizeof...(P)) return false;
  size_t i = 0;
  const auto fits = [&]<typename T>(T*) {
    const Parameter& p = shapes.parameters[i++];
    using Value = std::remove_pointer_t<T>;
    return p.is_array() == std::is_pointer_v<T> && p.is_written == (std::is_pointer_v<T> && !std::is_const_v<Value>);
  };
  return (fits(static_cast<P*>(nullptr)) && ...);
}

}  // namespace t5g::kernels
