// Typed getters: the value of a key as the C++ type that the caller wants, or an error that names both types.
#include <cmath>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "gguf/reader.h"

namespace t5g {
namespace {

using gguf::Value;
using gguf::ValueType;

template <class T>
struct ElementOf {
  using type = T;
  static constexpr bool kIsArray = false;
};
template <class T>
struct ElementOf<std::vector<T>> {
  using type = T;
  static constexpr bool kIsArray = true;
};

template <class T>
std::string expected_type() {
  using Element = typename ElementOf<T>::type;
  std::string name = std::is_same_v<Element, std::string_view> ? "string"
                     : std::is_same_v<Element, bool>           ? "bool"
                     : std::is_same_v<Element, float>          ? "f32"
                     : std::is_same_v<Element, double>         ? "f64"
                     : std::is_same_v<Element, int32_t>        ? "i32"
                                                               : "u32";
  return (ElementOf<T>::kIsArray ? "array of " : "") + name;
}

// Whether a number of type From may stand for one of type To at all.
template <class To, class From>
constexpr bool kConvertible = std::is_floating_point_v<To> == std::is_floating_point_v<From>;

template <class To, class From>
bool fits(From number) {
  if constexpr (std::is_floating_point_v<To>) {
    // Only finite numbers can be too large; infinities and NaN stay what they are.
    return !std::isfinite(number) || std::isfinite(static_cast<To>(number));
  } else {
    return std::in_range<To>(number);
  }
}

// What went wrong in a conversion; empty when nothing did.
using Problem = std::string;

// Calls put(element) for every element of `value` as a T.
template <class T, class Put>
Problem convert(const Value& value, Put put) {
  const Problem wrong_type = "has type " + gguf::describe(value);
  if constexpr (std::is_same_v<T, std::string_view>) {
    if (value.type != ValueType::kString) return wrong_type;
    gguf::for_each_string(value, put);
    return {};
  } else if constexpr (std::is_same_v<T, bool>) {
    if (value.type != ValueType::kBool) return wrong_type;
    for (uint64_t i = 0; i < value.count; ++i) put(gguf::load_number<uint8_t>(value, i) != 0);
    return {};
  } else {
    Problem problem = wrong_type;
    gguf::visit_number_type(value.type, [&]<class Stored>(Stored) {
      if constexpr (kConvertible<T, Stored>) {
        problem.clear();
        for (uint64_t i = 0; i < value.count && problem.empty(); ++i) {
          const auto number = gguf::load_number<Stored>(value, i);
          if (!fits<T>(number)) problem = "is " + std::to_string(number) + ", which does not fit";
          put(static_cast<T>(number));
        }
      }
    });
    return problem;
  }
}

}  // namespace

template <class T>
std::optional<T> GgufFile::find_as(std::string_view key) const {
  using Element = typename ElementOf<T>::type;
  const Metadata* found = find_metadata(key);
  if (found == nullptr) return std::nullopt;
  if (found->forgotten) fail_key(key, "has been forgotten: it was to be used while the model was being loaded.");
  const Value& value = found->value;
  T result{};
  Problem problem;
  if (value.is_array != ElementOf<T>::kIsArray) {
    problem = "has type " + gguf::describe(value);
  } else if constexpr (ElementOf<T>::kIsArray) {
    result.reserve(value.count);  // never more than a few times the bytes that the array has in the file
    problem = convert<Element>(value, [&](Element element) { result.push_back(element); });
  } else {
    problem = convert<Element>(value, [&](Element element) { result = element; });
    if constexpr (std::is_floating_point_v<T>) {
      if (problem.empty() && !std::isfinite(result)) problem = "is " + std::to_string(result) + ", not a finite number";
    }
  }
  if (!problem.empty()) fail_key(key, problem + ", expected " + expected_type<T>() + ". Convert the model again.");
  return result;
}

template <class T>
T GgufFile::get(std::string_view key) const {
  std::optional<T> found = find_as<T>(key);
  if (!found) fail_key(key, "missing, expected " + expected_type<T>() + ". Convert the model again.");
  return *std::move(found);
}

#define T5G_GETTER(T)                                                            \
  template T GgufFile::get<T>(std::string_view key) const;                       \
  template std::optional<T> GgufFile::find_as<T>(std::string_view key) const;    \
  template std::vector<T> GgufFile::get<std::vector<T>>(std::string_view) const; \
  template std::optional<std::vector<T>> GgufFile::find_as<std::vector<T>>(std::string_view) const;
T5G_GETTER(uint32_t)
T5G_GETTER(int32_t)
T5G_GETTER(float)
T5G_GETTER(double)
T5G_GETTER(bool)
T5G_GETTER(std::string_view)
#undef T5G_GETTER

}  // namespace t5g
