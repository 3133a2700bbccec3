// Look-up by name in a vector that keeps its own order: positions, sorted by the name that they stand for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string_view>
#include <vector>

namespace t5g::gguf {

// name_of(position) is the name of an item. n < 2^32.
template <class NameOf>
std::vector<uint32_t> sort_by_name(size_t n, NameOf name_of) {
  std::vector<uint32_t> index(n);
  std::iota(index.begin(), index.end(), 0u);
  std::sort(index.begin(), index.end(), [&](uint32_t a, uint32_t b) { return name_of(a) < name_of(b); });
  return index;
}

// A name that two items have.
template <class NameOf>
std::optional<std::string_view> find_duplicate(const std::vector<uint32_t>& index, NameOf name_of) {
  const auto same = [&](uint32_t a, uint32_t b) { return name_of(a) == name_of(b); };
  const auto found = std::adjacent_find(index.begin(), index.end(), same);
  if (found == index.end()) return std::nullopt;
  return name_of(*found);
}

// The position of the item with this name.
template <class NameOf>
std::optional<uint32_t> find_by_name(const std::vector<uint32_t>& index, std::string_view name, NameOf name_of) {
  const auto before = [&](uint32_t a, std::string_view b) { return name_of(a) < b; };
  const auto found = std::lower_bound(index.begin(), index.end(), name, before);
  if (found == index.end() || name_of(*found) != name) return std::nullopt;
  return *found;
}

}  // namespace t5g::gguf
