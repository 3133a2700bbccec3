// This process among others: its number, and whether it is a copy of another one.
#pragma once

#include <cstdint>

namespace t5g::os {

int64_t process_id();

// Counts the forks between the first process that asked and this one. On systems without fork, 0.
uint32_t fork_count();

}  // namespace t5g::os
