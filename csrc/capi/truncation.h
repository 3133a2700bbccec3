// What is cut of a source that is too long, where the caller has asked for that: as t5g.truncation does in Python.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace t5g::capi {

// What was put around a text, and stays.
struct Added {
  std::span<const int32_t> prefix = {}, suffix = {};
};

// Throws InvalidArgument for what is no t5g_truncation.
void check_truncation(int32_t truncation);

// Leaves at most `limit` ids, unless it is an error to have more; says how many went.
int64_t truncate(std::vector<int32_t>& ids, int32_t truncation, int64_t limit, const Added& added);

}  // namespace t5g::capi
