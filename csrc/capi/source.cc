// Sources: read, saved, loaded, looked at.
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "capi/adapters.h"
#include "capi/handles.h"
#include "capi/image_prompt.h"
#include "capi/structs.h"
#include "runtime/reading_progress.h"
#include "text/truncation.h"

namespace t5g::capi {
namespace {

constexpr size_t kMaxImages = 1 << 16;

t5g_encode_options default_options() {
  t5g_encode_options options{};
  options.struct_size = sizeof options;
  options.n_adapters = T5G_ALL_ADAPTERS;
  return options;
}

// Tells the caller how far it is, who may have enough.
class Told final : public Progress {
 public:
  explicit Told(const t5g_encode_options& options) : options_(options) {}
  void update(int64_t done, int64_t total) override {
    if (options_.on_progress == nullptr) return;
    if (options_.on_progress(options_.user_data, static_cast<uint64_t>(done), static_cast<uint64_t>(total)) != 0)
      throw Cancelled();
  }

 private:
  const t5g_encode_options& options_;
};

void give_source(std::shared_ptr<const EncodedSource> source, t5g_source** out) {
  auto handle = std::make_unique<t5g_source>();
  handle->source = std::move(source);
  *out = handle.release();
}

void check_truncation(int32_t truncation) {
  if (truncation < T5G_TRUNCATION_ERROR || truncation > T5G_TRUNCATION_MIDDLE)
    fail("truncation", "must be one of the constants of t5g.h, got " + std::to_string(truncation) + ".");
}

// Leaves at most `limit` ids, unless it is an error to have more; says how many went. tokenizer: what has put its own
// ids around a text, or null.
int64_t truncate(std::vector<int32_t>& ids, int32_t truncation, int64_t limit, const Tokenizer* tokenizer) {
  if (truncation == T5G_TRUNCATION_ERROR) return 0;
  const auto part = static_cast<Truncation>(truncation);
  const CutRange cut = tokenizer == nullptr
                           ? cut_range(std::ssize(ids), limit, part, 0, 0)
                           : cut_range(std::ssize(ids), limit, part, std::ssize(tokenizer->prefix_ids()),
                                       std::ssize(tokenizer->suffix_ids()));
  ids.erase(ids.begin() + cut.begin, ids.begin() + cut.begin + cut.n);
  return cut.n;
}
static_assert(static_cast<int32_t>(Truncation::kEnd) == T5G_TRUNCATION_END &&
              static_cast<int32_t>(Truncation::kMiddle) == T5G_TRUNCATION_MIDDLE);

// make_ids(model, options): what the source consists of, once the images have been looked at. is_text: whether
// something was put around it.
template <class MakeIds>
void encode(t5g_model* model, const t5g_encode_options* given, t5g_source** out, bool is_text, MakeIds make_ids) {
  required(out, "source") = nullptr;
  t5g_model& it = checked(model, "model");
  const t5g_encode_options options = take(given, default_options(), "options");
  if (options.n_images > kMaxImages)
    fail("n_images", "is " + std::to_string(options.n_images) + ", more than any source has.");
  if (options.n_images > 0) required(options.images, "images");
  check_truncation(options.truncation);
  const AdapterChoices chosen = adapters_argument(options);
  CancelInterrupt interrupt(options.cancel);
  use(it, &interrupt, [&](Model& m, Interrupt* stop) {
    std::vector<std::vector<uint8_t>> pixels;
    for (size_t i = 0; i < options.n_images; ++i) pixels.push_back(pixels_for(m, options.images[i], i));
    std::vector<int32_t> ids = make_ids(m, options);
    const int64_t limit = m.config().encoder.max_tokens;
    const Tokenizer* tokenizer = is_text ? m.tokenizer().get() : nullptr;
    const int64_t n_truncated = pixels.empty() ? truncate(ids, options.truncation, limit, tokenizer) : 0;
    Model::check_ids("source", ids, m.config().encoder);
    m.check_images(ids, pixels.size());
    Model::Unread unread{std::move(ids), {}, m.adapters().choose(chosen), 0, n_truncated};
    Told told(options);
    SourceProgress reading(m.config(), std::ssize(unread.ids), pixels.size(), &told);
    for (const auto& image : pixels)
      unread.images.push_back(m.encode_image(image, stop, unread.adapters, reading.next()));
    give_source(m.encode({std::move(unread)}, SourceOrigin::kFinal, stop, reading.next()).front(), out);
  });
}

std::vector<int32_t> ids_of_text(const Model& model, std::string_view text, const t5g_encode_options& options) {
  const bool parse_special = options.parse_special != 0;
  if (options.n_images > 0) return image_prompt(model, text, options.n_images, parse_special);
  return model.tokenizer()->encode(text, {.add_special_tokens = true, .parse_special = parse_special});
}

}  // namespace
}  // namespace t5g::capi

extern "C" {

using namespace t5g;
using namespace t5g::capi;

t5g_status t5g_encode_options_init(t5g_encode_options* options, size_t struct_size) {
  return guarded([&] { give(options, struct_size, default_options(), "options"); });
}

t5g_status t5g_encode_text(t5g_model* model, const char* text, size_t size, const t5g_encode_options* options,
                           t5g_source** source) {
  return guarded([&] {
    encode(model, options, source, true, [&](const Model& it, const t5g_encode_options& all) {
      return ids_of_text(it, text_argument(text, size, "text"), all);
    });
  });
}

t5g_status t5g_encode_ids(t5g_model* model, const int32_t* ids, size_t n_ids, const t5g_encode_options* options,
                          t5g_source** source) {
  return guarded([&] {
    encode(model, options, source, false,
           [&](const Model&, const t5g_encode_options&) { return ids_argument(ids, n_ids, "ids"); });
  });
}

t5g_status t5g_source_save(const t5g_source* source, const char* path) {
  return guarded([&] { checked(source, "source").source->save(path_argument(path)); });
}

t5g_status t5g_source_save_memory(const t5g_source* source, void** data, size_t* size) {
  return guarded([&] {
    required(data, "data") = nullptr;
    required(size, "size") = 0;
    const std::vector<std::byte> bytes = checked(source, "source").source->to_bytes();
    *data = copy_out(bytes.data(), bytes.size());
    *size = bytes.size();
  });
}

t5g_status t5g_source_load(const t5g_model* model, const char* path, t5g_source** source) {
  return guarded([&] {
    required(source, "source") = nullptr;
    const std::string name = path_argument(path);
    give_source(known(checked(model, "model"), [&](const Model& it) { return it.load_source(name); }), source);
  });
}

t5g_status t5g_source_load_memory(const t5g_model* model, const void* data, size_t size, t5g_source** source) {
  return guarded([&] {
    required(source, "source") = nullptr;
    check_bytes(size, "data");
    const std::span bytes(&required(static_cast<const std::byte*>(data), "data"), size);
    give_source(known(checked(model, "model"), [&](const Model& it) { return it.load_source(bytes); }), source);
  });
}

t5g_status t5g_source_get_ids(const t5g_source* source, const int32_t** ids, size_t* n_ids) {
  return guarded([&] {
    const EncodedSource& it = *checked(source, "source").source;
    required(ids, "ids") = it.ids().data();
    required(n_ids, "n_ids") = it.ids().size();
  });
}

t5g_status t5g_source_get_n_truncated(const t5g_source* source, size_t* n_truncated) {
  return guarded([&] {
    required(n_truncated, "n_truncated") = static_cast<size_t>(checked(source, "source").source->n_truncated());
  });
}

t5g_status t5g_source_get_hidden_states(const t5g_source* source, float** states, size_t* n_tokens,
                                        size_t* hidden_size) {
  return guarded([&] {
    const EncodedSource& it = *checked(source, "source").source;
    required(states, "states") = nullptr;
    const StateRows& rows = it.hidden_states();
    required(n_tokens, "n_tokens") = static_cast<size_t>(rows.rows());
    required(hidden_size, "hidden_size") = static_cast<size_t>(rows.cols());
    std::vector<float> floats(static_cast<size_t>(rows.rows() * rows.cols()));
    rows.read(0, rows.rows(), floats.data());
    *states = static_cast<float*>(copy_out(floats.data(), floats.size() * sizeof(float)));
  });
}

void t5g_source_free(t5g_source* source) { free_handle(source); }

}  // extern "C"
