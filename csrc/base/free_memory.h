// How much memory this process may still get without others, or itself, being stopped for it.
#pragma once

#include <cstdint>
#include <string>

namespace t5g {

// Bytes: what the system has available, or what the limits of the process's control groups leave, whichever is less.
// INT64_MAX where the system does not say. The parameters are for tests.
int64_t free_memory(const std::string& meminfo = "/proc/meminfo", const std::string& membership = "/proc/self/cgroup",
                    const std::string& mount_point = "/sys/fs/cgroup");

}  // namespace t5g
