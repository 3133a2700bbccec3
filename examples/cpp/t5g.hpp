// t5g.h for C++: handles that free themselves, and statuses that are exceptions. To be copied, and changed to taste.
#pragma once

#include <t5g.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace t5g_example {

struct Error : std::runtime_error {
  explicit Error(t5g_status failed) : std::runtime_error(t5g_message()), status(failed) {}
  t5g_status status;
};

inline void check(t5g_status status) {
  if (status != T5G_OK) throw Error(status);
}

struct Free {
  void operator()(t5g_model* it) const { t5g_model_free(it); }
  void operator()(t5g_source* it) const { t5g_source_free(it); }
  void operator()(t5g_result* it) const { t5g_result_free(it); }
  void operator()(t5g_cancel* it) const { t5g_cancel_free(it); }
  void operator()(char* it) const { t5g_free(it); }
};

using Model = std::unique_ptr<t5g_model, Free>;
using Source = std::unique_ptr<t5g_source, Free>;
using Result = std::unique_ptr<t5g_result, Free>;
using Cancel = std::unique_ptr<t5g_cancel, Free>;

inline Model open(const std::string& path) {
  t5g_model* model = nullptr;
  check(t5g_model_open(path.c_str(), nullptr, &model));
  return Model(model);
}

inline Source encode(t5g_model* model, std::string_view text, t5g_cancel* cancel = nullptr) {
  t5g_encode_options options;
  check(t5g_encode_options_init(&options, sizeof options));
  options.cancel = cancel;
  t5g_source* source = nullptr;
  check(t5g_encode_text(model, text.data(), text.size(), &options, &source));
  return Source(source);
}

inline t5g_generate_options options_for(const t5g_model* model) {
  t5g_generate_options options;
  check(t5g_generate_options_init(model, &options, sizeof options));
  return options;
}

inline Result generate(t5g_model* model, const t5g_source* source, const t5g_generate_options& options) {
  t5g_result* result = nullptr;
  check(t5g_generate(model, source, &options, &result));
  return Result(result);
}

inline t5g_sequence sequence(const t5g_result* result, size_t index = 0) {
  t5g_sequence out{};
  out.struct_size = sizeof out;
  check(t5g_result_get_sequence(result, index, &out));
  return out;
}

inline std::string text(const t5g_result* result) {
  const t5g_sequence best = sequence(result);
  return {best.text, best.text_size};
}

}  // namespace t5g_example
