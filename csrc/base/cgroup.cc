// Every line of /proc/self/cgroup is HIERARCHY:CONTROLLERS:/PATH; limits hold for a group and all groups below it.
#include "base/cgroup.h"

#include <charconv>
#include <cstdint>
#include <fstream>
#include <string_view>

namespace t5g {
namespace {

// A positive whole number, 0 for anything else ("max", "-1", garbage).
double positive_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? static_cast<double>(number) : 0;
}

std::string first_word(std::ifstream& file) {
  std::string word;
  file >> word;
  return word;
}

// The quota of one group alone, 0 when it has none.
double group_quota(const std::string& folder) {
  std::ifstream both(folder + "/cpu.max");  // version 2: "QUOTA PERIOD"
  const double quota = positive_number(first_word(both)), period = positive_number(first_word(both));
  if (quota > 0 && period > 0) return quota / period;
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");  // version 1
  const double quota_us = positive_number(first_word(quota_file)), period_us = positive_number(first_word(period_file));
  return quota_us > 0 && period_us > 0 ? quota_us / period_us : 0;
}

// The least quota of the group `path` and of those that contain it, up to the mount point.
double least_quota(const std::string& mount_point, std::string path) {
  if (path.find("/..") != std::string::npos) path.clear();  // outside of what this container may see
  double least = 0;
  while (true) {
    const double quota = group_quota(mount_point + path);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
    if (path.empty()) return least;
    path.resize(path.find_last_of('/'));
  }
}

bool lists_cpu(std::string_view controllers) {
  return ("," + std::string(controllers) + ",").find(",cpu,") != std::string::npos;
}

}  // namespace

double cgroup_cpu_quota(const std::string& membership_file, const std::string& mount_point) {
  double least = 0;
  const auto look = [&](const std::string& mount, const std::string& path) {
    const double quota = least_quota(mount, path);
    if (quota > 0 && (least == 0 || quota < least)) least = quota;
  };
  std::ifstream membership(membership_file);
  for (std::string line; std::getline(membership, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line.substr(second + 1, 1) != "/") continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers.empty()) look(mount_point, path);  // version 2
    if (lists_cpu(controllers)) {
      look(mount_point + "/" + controllers, path);
      look(mount_point + "/cpu", path);  // where the others are links to it, or it stands alone
    }
  }
  return least;
}

}  // namespace t5g
