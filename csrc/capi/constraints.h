// What limits a text, as C says it: choices, whose tokens form a trie, or a callback that fills a mask.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "capi/t5g.h"
#include "sampling/allowed_tokens.h"

struct t5g_model;

namespace t5g::capi {

// Of each of n sources the constraint that the options ask for, null where they ask for none. They use the callback of
// the options, whose user_data must live as long. Throws InvalidArgument.
std::vector<std::shared_ptr<const Constraint>> constraints_of(const t5g_generate_options& options,
                                                              const t5g_model& model, size_t n);

}  // namespace t5g::capi
