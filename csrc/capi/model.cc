// Models: opened from wherever their bytes are, asked what they are, closed.
#include <chrono>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "capi/handles.h"
#include "capi/structs.h"
#include "quant/types.h"
#include "runtime/generation_defaults.h"
#include "text/chat.h"

namespace t5g::capi {

namespace {

// A file in the caller's memory, or in a copy that the model keeps.
ModelLocation in_memory(std::string name, const void* data, size_t size, bool copy) {
  const std::span bytes(static_cast<const std::byte*>(data), size);
  if (!copy) {
    if (reinterpret_cast<uintptr_t>(data) % alignof(uint64_t) != 0)
      fail("data", "begins at no multiple of 8 bytes. Move it, or set load to T5G_LOAD_COPY.");
    return {.path = std::move(name), .memory = bytes};
  }
  const auto kept = std::make_shared<Buffer>(size);
  std::copy(bytes.begin(), bytes.end(), kept->data());
  return {.path = std::move(name), .memory = {kept->data(), size}, .owner = kept};
}

t5g_model_options default_options() {
  t5g_model_options options{};
  options.struct_size = sizeof options;
  options.device = "auto";
  options.kv_type = "auto";
  options.source_cache = "auto";
  options.source_cache_budget = kDefaultSourceCacheBudget;
  return options;
}

// One of two constants.
bool second_of(int32_t value, const char* name) {
  if (value != 0 && value != 1) fail(name, "must be one of the constants of t5g.h, got " + std::to_string(value) + ".");
  return value == 1;
}

std::string word(const char* text, const char* name) {
  return std::string(text_argument(&required(text, name), T5G_TO_ZERO, name));
}

ModelOptions runtime_options(const t5g_model_options& given) {
  ModelOptions options;
  options.device = word(given.device, "device");
  options.kv_type = word(given.kv_type, "kv_type");
  options.n_threads = given.n_threads;
  options.source_cache = word(given.source_cache, "source_cache");
  options.source_cache_budget = given.source_cache_budget;
  options.max_source_tokens = given.max_source_tokens;
  options.max_target_tokens = given.max_target_tokens;
  options.load = second_of(given.load, "load") ? LoadMode::kCopy : LoadMode::kMap;
  if (second_of(given.encoder_window, "encoder_window")) options.encoder_window = EncoderWindow::kInclusive;
  return options;
}

void learn(t5g_model& model) {
  known(model, [&](const Model& it) {
    model.tokenizer = it.tokenizer();
    model.architecture = it.config().architecture == Architecture::kT5Gemma ? "t5gemma" : "t5gemma2";
    model.name = it.config().name;
    model.device = it.device();
    model.kv_type = type_name(it.kv_type());
    model.defaults = load_generation_defaults(it.file());
    model.options = options_of(model.defaults.config, model.arrays);
    for (const std::string& text : model.defaults.stop) model.stop.push_back(text.c_str());
  });
}

void open(const ModelLocation& location, const t5g_model_options& options, t5g_model** out) {
  const auto begin = std::chrono::steady_clock::now();
  auto model = std::make_unique<t5g_model>();
  model->handle = std::make_shared<ModelHandle>(location, runtime_options(options));
  learn(*model);
  model->load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const Log log{options.on_log, options.user_data};
  log(T5G_LOG_INFO, location.path + ": " + model->architecture + " on " + model->device + ", keys and values in " +
                        model->kv_type + ".");
  if (options.encoder_window == T5G_WINDOW_INCLUSIVE && model->architecture == "t5gemma2")
    log(T5G_LOG_WARNING, "encoder_window: without effect, as only T5Gemma (the first) has two.");
  *out = model.release();
}

bool has_known_chat_template(const Model& model) {
  const auto text = model.file().find_string("tokenizer.chat_template");
  return text && known_chat_template(*text).has_value();
}

t5g_model_info info_of(const t5g_model& model, const Model& it) {
  const Config& config = it.config();
  const MemoryNeeds memory = it.memory();
  t5g_model_info info{};
  info.architecture = model.architecture.c_str();
  info.name = model.name.c_str();
  info.device = model.device.c_str();
  info.kv_type = model.kv_type.c_str();
  info.n_threads = it.n_threads();
  info.vocab_size = config.vocab_size;
  info.hidden_size = config.encoder.hidden_size;
  info.max_source_tokens = config.encoder.max_tokens;
  info.max_target_tokens = config.has_decoder ? config.decoder.max_tokens : 0;
  info.bos_id = model.tokenizer->bos_id();
  info.eos_id = model.tokenizer->eos_id();
  info.pad_id = model.tokenizer->pad_id();
  info.decoder_start_token_id = config.has_decoder ? config.decoder_start_token_id : -1;
  info.image_size = config.vision ? config.vision->image_size : 0;
  info.n_tokens_per_image = config.vision ? config.vision->mm_tokens_per_image : 0;
  info.has_tokenizer = !model.tokenizer->is_placeholder();
  info.has_chat_template = has_known_chat_template(it);
  info.weights_bytes = memory.weights_bytes;
  info.image_weights_bytes = memory.vision_weights_bytes;
  info.workspace_bytes = memory.workspace_bytes;
  info.bytes_per_source_token = memory.bytes_per_source_token;
  info.bytes_per_target_token = memory.bytes_per_target_token;
  info.load_seconds = model.load_seconds;
  return info;
}

std::string location_name(const char* name, const char* usual) {
  return name == nullptr ? usual : std::string(text_argument(name, T5G_TO_ZERO, "name"));
}

}  // namespace

std::vector<int32_t> ids_argument(const int32_t* ids, size_t n_ids, const char* name) {
  check_items(n_ids, name);
  if (n_ids > 0) required(ids, name);
  return {ids, ids + n_ids};
}

void give_ids(const std::vector<int32_t>& ids, int32_t** out, size_t* n_out) {
  *out = static_cast<int32_t*>(copy_out(ids.data(), ids.size() * sizeof(int32_t)));
  *n_out = ids.size();
}

}  // namespace t5g::capi

extern "C" {

using namespace t5g;
using namespace t5g::capi;

t5g_status t5g_model_options_init(t5g_model_options* options, size_t struct_size) {
  return guarded([&] { give(options, struct_size, default_options(), "options"); });
}

t5g_status t5g_model_open(const char* path, const t5g_model_options* options, t5g_model** model) {
  return guarded([&] {
    required(model, "model") = nullptr;
    open({.path = path_argument(path)}, take(options, default_options(), "options"), model);
  });
}

t5g_status t5g_model_open_fd(int fd, uint64_t offset, uint64_t size, const char* name, const t5g_model_options* options,
                             t5g_model** model) {
  return guarded([&] {
    required(model, "model") = nullptr;
    if (fd < 0) fail("fd", "is " + std::to_string(fd) + ", expected a descriptor.");
    const ModelLocation location{
        .path = location_name(name, "the open file"), .descriptor = fd, .offset = offset, .size_bytes = size};
    open(location, take(options, default_options(), "options"), model);
  });
}

t5g_status t5g_model_open_memory(const void* data, size_t size, const char* name, const t5g_model_options* options,
                                 t5g_model** model) {
  return guarded([&] {
    required(model, "model") = nullptr;
    required(static_cast<const char*>(data), "data");
    if (size == 0) fail("size", "is 0: the file is empty.");
    check_bytes(size, "data");
    const t5g_model_options all = take(options, default_options(), "options");
    const bool copy = second_of(all.load, "load");
    open(in_memory(location_name(name, "the file in memory"), data, size, copy), all, model);
  });
}

t5g_status t5g_model_get_info(const t5g_model* model, t5g_model_info* info) {
  return guarded([&] {
    const t5g_model& it = checked(model, "model");
    const size_t size = required(info, "info").struct_size;
    give(info, size, known(it, [&](const Model& m) { return info_of(it, m); }), "info");
  });
}

t5g_status t5g_model_get_metadata(const t5g_model* model, const char* key, char** value) {
  return guarded([&] {
    required(value, "value") = nullptr;
    const t5g_model& it = checked(model, "model");
    const std::string_view wanted = text_argument(&required(key, "key"), T5G_TO_ZERO, "key");
    known(it, [&](const Model& m) {
      if (!m.file().has_key(wanted))
        throw NotFound(m.file().name() + ": has no metadata key '" + std::string(wanted) + "'.");
      const std::string_view text = m.file().get_string(wanted);
      if (!is_utf8(text)) m.file().fail_key(wanted, "is not UTF-8. Convert the model again.");
      *value = static_cast<char*>(copy_out(text.data(), text.size()));
    });
  });
}

t5g_status t5g_model_close(t5g_model* model) {
  return guarded([&] { checked(model, "model").handle->close(); });
}

void t5g_model_free(t5g_model* model) {
  if (t5g_model_close(model) == T5G_OK) free_handle(model);
}

}  // extern "C"
