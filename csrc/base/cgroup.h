// How much CPU time the control groups of this process grant it: what a container's limit is made of.
#pragma once

#include <string>

namespace t5g {

// CPUs granted by the quota of the process's cgroup or of one that contains it, whichever is least (version 2 and 1);
// 0 when there is none. The parameters are for tests.
double cgroup_cpu_quota(const std::string& membership_file = "/proc/self/cgroup",
                        const std::string& mount_point = "/sys/fs/cgroup");

}  // namespace t5g
