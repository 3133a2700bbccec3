// One look-up per row of the table of options, by the type of its field.
#include "runtime/generation_defaults.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/printable.h"
#include "base/utf8.h"
#include "sampling/options.h"

namespace t5g {
namespace {

// Looks the key up and sets the field; false where the file does not have it.
bool read(const GgufFile& file, const std::string& key, int32_t& field) {
  const auto found = file.find_i32(key);
  if (found) field = *found;
  return found.has_value();
}

bool read(const GgufFile& file, const std::string& key, std::optional<int32_t>& field) {
  field = file.find_i32(key);
  return field.has_value();
}

bool read(const GgufFile& file, const std::string& key, std::vector<int32_t>& field) {
  const auto found = file.find_i32_array(key);
  if (found) field = *found;
  return found.has_value();
}

// Runs of ids, each ended by -1.
bool read(const GgufFile& file, const std::string& key, std::vector<std::vector<int32_t>>& field) {
  const auto found = file.find_i32_array(key);
  if (!found) return false;
  field.clear();
  std::vector<int32_t> run;
  for (const int32_t id : *found) {
    if (id == -1) {
      field.push_back(std::exchange(run, {}));
    } else {
      run.push_back(id);
    }
  }
  if (!run.empty()) file.fail_key(key, "does not end in -1. Convert the model again.");
  return true;
}

// No file has it.
bool read(const GgufFile&, const std::string&, std::vector<LogitBias>&) { return false; }

bool read(const GgufFile& file, const std::string& key, double& field) {
  const auto found = file.find_f64(key);
  if (found) field = *found;
  return found.has_value();
}

bool read(const GgufFile& file, const std::string& key, std::optional<uint64_t>& field) {
  const auto found = file.find_u32(key);
  if (found) field = *found;
  return found.has_value();
}

// The value of one of these words.
template <class T, size_t N>
bool read_word(const GgufFile& file, const std::string& key, T& field,
               const std::pair<std::string_view, T> (&words)[N]) {
  const auto found = file.find_string(key);
  if (!found) return false;
  std::string expected;
  for (const auto& [word, value] : words) {
    if (*found == word) {
      field = value;
      return true;
    }
    expected += (expected.empty() ? "'" : " or '") + std::string(word) + "'";
  }
  file.fail_key(key, "is '" + printable(*found, 40) + "', expected " + expected + ". Convert the model again.");
}

bool read(const GgufFile& file, const std::string& key, EarlyStopping& field) {
  return read_word(
      file, key, field,
      {{"true", EarlyStopping::kWhenFull}, {"false", EarlyStopping::kHeuristic}, {"never", EarlyStopping::kNever}});
}

bool read(const GgufFile& file, const std::string& key, Draft& field) {
  return read_word(file, key, field, {{"source", Draft::kSource}, {"off", Draft::kOff}});
}

}  // namespace

GenerationDefaults load_generation_defaults(const GgufFile& file) {
  const std::string prefix = std::string(file.get_string("general.architecture")) + ".generation.";
  GenerationDefaults defaults;
  for (const sampling::Option& option : sampling::kOptions) {
    const auto read_field = [&](auto field) { return read(file, prefix + option.name, defaults.config.*field); };
    if (std::visit(read_field, option.field)) defaults.names.emplace_back(option.name);
  }
  const std::string stop = prefix + "stop";
  for (const std::string_view text : file.find_string_array(stop).value_or(std::vector<std::string_view>())) {
    if (text.empty() || !is_utf8(text)) file.fail_key(stop, "has a text that is empty or not UTF-8.");
    defaults.stop.emplace_back(text);
  }
  try {
    defaults.config.validate();
  } catch (const InvalidArgument& error) {
    throw ModelFormatError(file.name(), "its defaults of generation: " + std::string(error.what()));
  }
  return defaults;
}

}  // namespace t5g
