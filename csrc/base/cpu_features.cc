// What the system says of its CPUs, asked once and named; and cores within the container's quota.
#include "base/cpu_features.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/cgroup.h"
#include "base/os/cpu.h"

namespace t5g {

uint64_t cpu_features() {
  static const uint64_t features = os::detect_cpu_features();
  return features;
}

bool may_use_amx() {
  static const bool permitted = (cpu_features() & kCpuAmxInt8) != 0 && os::request_amx();
  return permitted;
}

std::vector<std::string> cpu_feature_names(uint64_t features) {
  static const std::pair<CpuFeature, const char*> kNames[] = {{kCpuAvx2, "avx2"},
                                                              {kCpuAvx512, "avx512"},
                                                              {kCpuAvx512Vnni, "avx512_vnni"},
                                                              {kCpuAvx512Bf16, "avx512_bf16"},
                                                              {kCpuAvxVnni, "avx_vnni"},
                                                              {kCpuAmxInt8, "amx_int8"},
                                                              {kCpuAvx512Vbmi, "avx512_vbmi"},
                                                              {kCpuAvx512Bf16Fast, "avx512_bf16_fast"},
                                                              {kCpuNeon, "neon"},
                                                              {kCpuNeonDotprod, "dotprod"},
                                                              {kCpuNeonI8mm, "i8mm"}};
  std::vector<std::string> names;
  for (const auto& [bit, name] : kNames) {
    if (features & bit) names.emplace_back(name);
  }
  return names;
}

int usable_core_count() {
  double cores = os::allowed_physical_cores();
  const double quota = cgroup_cpu_quota();
  if (quota > 0) cores = std::min(cores, std::ceil(quota));
  return std::max(static_cast<int>(cores), 1);
}

}  // namespace t5g
