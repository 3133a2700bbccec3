// Affinity masks and relations of processors; instructions as Windows knows them.
#include "base/os/cpu.h"

#include <bit>
#include <vector>

#include "base/cpu_features.h"
#include "base/os/windows/system.h"
#include "base/os/x86.h"

namespace t5g::os {
namespace {

// Those of winnt.h have a name only in newer headers.
[[maybe_unused]] constexpr DWORD kDotProduct = 43;    // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
[[maybe_unused]] constexpr DWORD kInt8Products = 66;  // PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE

// What Windows knows of every core; empty when it does not say.
std::vector<std::byte> core_records() {
  DWORD size = 0;
  ::GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &size);
  std::vector<std::byte> records(size);
  auto* first = reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(records.data());
  if (size == 0 || !::GetLogicalProcessorInformationEx(RelationProcessorCore, first, &size)) return {};
  records.resize(size);
  return records;
}

int logical_processors() {
  SYSTEM_INFO info;
  ::GetSystemInfo(&info);
  return info.dwNumberOfProcessors > 0 ? static_cast<int>(info.dwNumberOfProcessors) : 1;
}

}  // namespace

uint64_t detect_cpu_features() {
#if defined(__aarch64__)
  uint64_t features = kCpuNeon;
  if (::IsProcessorFeaturePresent(kDotProduct)) features |= kCpuNeonDotprod;
  if (::IsProcessorFeaturePresent(kInt8Products)) features |= kCpuNeonI8mm;
  return features;
#else
  // Windows grants tiles by a call that only newer ones have; not tried on any.
  return x86_features() & ~kCpuAmxInt8;
#endif
}

bool request_amx() { return false; }

int allowed_physical_cores() {
  DWORD_PTR mine = 0, all = 0;
  // The mask is that of one group of 64 processors; on machines with more of them, a process may have several and then
  // gets no mask.
  const bool masked = ::GetProcessAffinityMask(::GetCurrentProcess(), &mine, &all) != 0 && mine != 0;
  const std::vector<std::byte> records = core_records();
  int cores = 0;
  for (size_t at = 0; at < records.size();) {
    const auto* record = reinterpret_cast<const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(records.data() + at);
    const GROUP_AFFINITY& group = record->Processor.GroupMask[0];
    if (!masked || (group.Mask & mine) != 0) ++cores;
    at += record->Size;
  }
  if (cores > 0) return cores;
  return masked ? std::popcount(uint64_t{mine}) : logical_processors();
}

}  // namespace t5g::os
