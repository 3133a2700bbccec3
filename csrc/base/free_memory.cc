// Linux alone says: MemAvailable, and for each control group its limit less what it has that cannot be dropped.
#include "base/free_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>

namespace t5g {
namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// The whole number in a file; kUnknown for "max" and where there is none.
int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? number : kUnknown;
}

// The number behind a word that begins a line.
int64_t number_after(const std::string& path, const std::string& word) {
  std::ifstream file(path);
  for (std::string found; file >> found;) {
    int64_t number = 0;
    if (found == word && file >> number) return number;
  }
  return kUnknown;
}

// What one group leaves; files in caches go when memory is asked for.
int64_t left_in_group(const std::string& folder) {
  const bool is_new = std::ifstream(folder + "/memory.max").good();
  const int64_t limit = number_in(folder + (is_new ? "/memory.max" : "/memory.limit_in_bytes"));
  const int64_t used = number_in(folder + (is_new ? "/memory.current" : "/memory.usage_in_bytes"));
  if (limit == kUnknown || used == kUnknown || limit > kUnknown / 2) return kUnknown;
  const int64_t cached = number_after(folder + "/memory.stat", is_new ? "inactive_file" : "total_inactive_file");
  return std::max<int64_t>(0, limit - used + (cached == kUnknown ? 0 : cached));
}

}  // namespace

int64_t free_memory(const std::string& meminfo, const std::string& membership, const std::string& mount_point) {
  const int64_t available_kb = number_after(meminfo, "MemAvailable:");
  int64_t least = available_kb == kUnknown ? kUnknown : available_kb * 1024;
  std::ifstream groups(membership);
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
    const std::string mount = mount_point + (controllers.empty() ? "" : "/memory");
    std::string path = line.substr(second + 1);
    if (path.find("/..") != std::string::npos) path.clear();  // outside of what this container may see
    while (true) {
      least = std::min(least, left_in_group(mount + path));
      if (path.empty() || path == "/") break;
      const size_t slash = path.find_last_of('/');
      path.resize(slash == std::string::npos ? 0 : slash);
    }
  }
  return least;
}

}  // namespace t5g
