// What a fake device is told to be and to do wrong: NAME=NUMBER,NAME=NUMBER in an environment variable.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace t5g::fakes {

class PlanOfFaults {
 public:
  explicit PlanOfFaults(const char* variable) : log_(std::getenv("T5G_FAKE_LOG")) {
    const char* text = std::getenv(variable);
    std::string rest = text == nullptr ? "" : text;
    while (!rest.empty()) {
      const size_t end = rest.find(','), equals = rest.find('=');
      values_[rest.substr(0, equals)] = std::strtoll(rest.c_str() + equals + 1, nullptr, 10);
      rest = end == std::string::npos ? "" : rest.substr(end + 1);
    }
  }
  int64_t get(const std::string& name, int64_t otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }
  // A line in the file that T5G_FAKE_LOG names: what a real device would have suffered in silence.
  void log(const std::string& line) const {
    if (log_ == nullptr) return;
    if (std::FILE* file = std::fopen(log_, "a")) {
      std::fprintf(file, "%s\n", line.c_str());
      std::fclose(file);
    }
  }

 private:
  std::map<std::string, int64_t> values_;
  const char* const log_;
};

}  // namespace t5g::fakes
