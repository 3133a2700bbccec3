// A flat hash table from two ids to the merge.
#include "text/merge_table.h"

#include <bit>

#include "base/error.h"
#include "base/printable.h"

namespace t5g {
namespace {

constexpr size_t kMaxMerges = size_t{1} << 24;
constexpr size_t kMaxProbes = 1024;  // as in piece_table.cc: a file built to collide ends here instead of hanging

[[noreturn]] void fail(const std::string& where, size_t rank, std::string_view merge, const char* what) {
  throw ModelFormatError(where, "merge " + std::to_string(rank) + " is '" + printable(merge, 80) + "', " + what +
                                    ". The file is damaged: convert it again.");
}

}  // namespace

MergeTable::MergeTable(const PieceTable& table, std::span<const std::string_view> merges, const std::string& where) {
  if (merges.empty()) return;
  if (merges.size() > kMaxMerges) {
    throw ModelFormatError(where, "the vocabulary has " + std::to_string(merges.size()) + " merges, expected at most " +
                                      std::to_string(kMaxMerges) + ".");
  }
  slots_.resize(std::bit_ceil(2 * merges.size()));
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos) fail(where, rank, merge, "expected two pieces with a space between");
    joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    const int32_t left = table.find(merge.substr(0, space)), right = table.find(merge.substr(space + 1));
    const int32_t id = table.find(joined);
    if (left < 0 || right < 0 || id < 0) fail(where, rank, merge, "of which the vocabulary lacks a piece");
    const uint64_t pair = key(left, right);
    size_t at = first_slot(pair);
    for (size_t probes = 0; slots_[at].pair != kNone && slots_[at].pair != pair; ++probes) {
      if (probes == kMaxProbes) throw ModelFormatError(where, "the merges of the vocabulary are made to collide.");
      at = (at + 1) & (slots_.size() - 1);
    }
    if (slots_[at].pair == kNone) slots_[at] = {pair, {static_cast<uint32_t>(rank), id}};
  }
}

size_t MergeTable::first_slot(uint64_t pair) const {
  const uint64_t h = pair * 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
  return (h ^ (h >> 32)) & (slots_.size() - 1);
}

const MergeTable::Merge* MergeTable::find(int32_t left, int32_t right) const {
  if (left < 0 || right < 0) return nullptr;
  const uint64_t pair = key(left, right);
  for (size_t at = first_slot(pair); slots_[at].pair != kNone; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].pair == pair) return &slots_[at].merge;
  }
  return nullptr;
}

}  // namespace t5g
