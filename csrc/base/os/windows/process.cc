// Windows has no fork.
#include "base/os/process.h"

#include "base/os/windows/system.h"

namespace t5g::os {

int64_t process_id() { return ::GetCurrentProcessId(); }

uint32_t fork_count() { return 0; }

}  // namespace t5g::os
