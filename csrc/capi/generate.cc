// Generation for one source or several: the runtime's Generator, stepped here, with callbacks between steps.
#include <algorithm>
#include <memory>
#include <utility>

#include "capi/constraints.h"
#include "capi/generate_options.h"
#include "capi/handles.h"
#include "capi/structs.h"
#include "runtime/kept_logprob.h"

namespace t5g::capi {
namespace {

constexpr size_t kUsualBatch = 32;  // as Python's max_batch_size
constexpr size_t kMaxStop = 1 << 16;

t5g_generate_options default_options(const t5g_model* model) {
  static const GenerationConfig usual;
  OptionArrays none;
  t5g_generate_options options = model == nullptr ? options_of(usual, none) : model->options;
  options.struct_size = sizeof options;
  options.skip_special_tokens = 1;
  options.max_batch_size = kUsualBatch;
  if (model != nullptr) {
    options.stop = model->stop.data();
    options.n_stop = model->stop.size();
  }
  return options;
}

TextOptions text_options(const t5g_generate_options& options) {
  TextOptions text;
  text.skip_special_tokens = options.skip_special_tokens != 0;
  if (options.n_stop > kMaxStop) fail("n_stop", "is " + std::to_string(options.n_stop) + ", more than any call has.");
  if (options.n_stop > 0) required(options.stop, "stop");
  for (size_t i = 0; i < options.n_stop; ++i) {
    const std::string name = "stop[" + std::to_string(i) + "]";
    text.stop.emplace_back(text_argument(options.stop[i], T5G_TO_ZERO, name.c_str()));
  }
  return text;
}

// Of a source that has a constraint of its own.
std::shared_ptr<const RequestOptions> limited(const t5g_generate_options& options,
                                              std::shared_ptr<const Constraint> constraint) {
  if (constraint == nullptr) return nullptr;
  RequestOptions own{config_of(options), text_options(options)};
  own.config.constraint = std::move(constraint);
  return std::make_shared<const RequestOptions>(std::move(own));
}

std::vector<GenerationRequest> requests_for(const t5g_model& model, const t5g_source* const* sources, size_t n_sources,
                                            const t5g_generate_options& options, bool is_batch) {
  const std::vector<int32_t> prefix = ids_argument(options.decoder_prefix, options.n_decoder_prefix, "decoder_prefix");
  std::vector<GenerationRequest> requests(n_sources);
  if (n_sources > 0) required(sources, "sources");
  const std::vector<std::shared_ptr<const Constraint>> constraints = constraints_of(options, model, n_sources);
  for (size_t i = 0; i < n_sources; ++i) {
    const std::string name = n_sources == 1 ? "source" : "sources[" + std::to_string(i) + "]";
    requests[i].source = checked(sources[i], name.c_str()).source;
    requests[i].decoder_prefix = prefix;
    requests[i].options = limited(options, constraints[i]);
    requests[i].streams = options.on_text != nullptr && is_batch;
  }
  return requests;
}

// One call's way through the generator.
class Run {
 public:
  Run(t5g_model& model, const t5g_source* const* sources, size_t n_sources, const t5g_generate_options& options,
      bool is_batch)
      : options_(options),
        cancel_(options.cancel == nullptr ? nullptr : &checked(options.cancel, "cancel")),
        config_(config_of(options)),
        is_batch_(is_batch),
        total_(is_batch ? n_sources : static_cast<uint64_t>(config_.max_new_tokens)),
        generator_(model.handle, requests_for(model, sources, n_sources, options, is_batch), config_,
                   text_options(options), static_cast<int64_t>(std::min<size_t>(options.max_batch_size, INT32_MAX))) {
    const Log log{options.on_log, options.user_data};
    for (const std::string& line : without_effect(config_)) log(T5G_LOG_WARNING, line);
  }

  std::vector<GenerationResult> results() {
    bool more = tell();
    while (more) more = step() && tell();
    generator_.cancel();
    tell();
    return generator_.take_results();
  }

 private:
  struct Wish final : Interrupt {
    explicit Wish(const t5g_cancel* wanted) : cancel(wanted) {}
    bool poll() override { return cancel != nullptr && cancel->requested.load(std::memory_order_relaxed); }
    const t5g_cancel* cancel;
  };

  // False when there is nothing left to do, or nobody wants it.
  bool step() {
    Wish wish(cancel_);
    try {
      return !wish.poll() && generator_.step(&wish);
    } catch (const Cancelled&) {
      return false;
    }
  }

  // Calls back; false when a callback wants no more.
  bool tell() {
    bool goes_on = true;
    if (options_.on_text != nullptr) {
      if (!is_batch_) goes_on = tell_text(0, generator_.take_text());
      for (const FreshText& fresh : generator_.take_texts()) {
        if (goes_on && fresh.sequence == 0) goes_on = tell_text(fresh.number, fresh.text);
      }
    }
    const Generator::Reached reached = generator_.reached();
    const uint64_t done = is_batch_ ? reached.n_finished : static_cast<uint64_t>(reached.n_new_tokens);
    if (options_.on_progress == nullptr || done == told_) return goes_on;
    told_ = done;
    return options_.on_progress(options_.user_data, std::min(done, total_), total_) == 0 && goes_on;
  }

  bool tell_text(size_t source, const std::string& text) {
    return text.empty() || options_.on_text(options_.user_data, source, text.data(), text.size()) == 0;
  }

  const t5g_generate_options& options_;
  const t5g_cancel* const cancel_;
  const GenerationConfig config_;
  const bool is_batch_;
  const uint64_t total_;
  uint64_t told_ = UINT64_MAX;  // nothing
  Generator generator_;
};

void generate(t5g_model* model, const t5g_source* const* sources, size_t n_sources, const t5g_generate_options* given,
              t5g_result** results, bool is_batch) {
  if (is_batch && n_sources == 0) return;
  check_items(n_sources, "sources");
  required(results, is_batch ? "results" : "result");
  std::fill_n(results, n_sources, nullptr);
  t5g_model& it = checked(model, "model");
  const t5g_generate_options options = take(given, default_options(&it), "options");
  const double load_seconds = it.load_seconds;  // a callback may free the model
  std::vector<std::unique_ptr<t5g_result>> made;
  for (GenerationResult& result : Run(it, sources, n_sources, options, is_batch).results()) {
    made.push_back(std::make_unique<t5g_result>());
    made.back()->result = std::move(result);
    made.back()->load_seconds = load_seconds;
  }
  for (size_t i = 0; i < made.size(); ++i) results[i] = made[i].release();
}

GeneratedSequence& sequence_at(const t5g_result* result, size_t index) {
  auto& sequences = const_cast<t5g_result&>(checked(result, "result")).result.sequences;
  if (index < sequences.size()) return sequences[index];
  fail("index", "is " + std::to_string(index) + ", but there are " + std::to_string(sequences.size()) +
                    " sequences, from 0 on.");
}

}  // namespace
}  // namespace t5g::capi

extern "C" {

using namespace t5g;
using namespace t5g::capi;

t5g_status t5g_generate_options_init(const t5g_model* model, t5g_generate_options* options, size_t struct_size) {
  return guarded([&] {
    if (model != nullptr) checked(model, "model");
    give(options, struct_size, default_options(model), "options");
  });
}

t5g_status t5g_generate(t5g_model* model, const t5g_source* source, const t5g_generate_options* options,
                        t5g_result** result) {
  return guarded([&] { generate(model, &source, 1, options, result, false); });
}

t5g_status t5g_generate_batch(t5g_model* model, const t5g_source* const* sources, size_t n_sources,
                              const t5g_generate_options* options, t5g_result** results) {
  return guarded([&] { generate(model, sources, n_sources, options, results, true); });
}

t5g_status t5g_result_get_n_sequences(const t5g_result* result, size_t* n_sequences) {
  return guarded([&] { required(n_sequences, "n_sequences") = checked(result, "result").result.sequences.size(); });
}

t5g_status t5g_result_get_sequence(const t5g_result* result, size_t index, t5g_sequence* out) {
  return guarded([&] {
    const GeneratedSequence& sequence = sequence_at(result, index);
    const auto reason = static_cast<int32_t>(sequence.finish_reason);
    give(out, required(out, "sequence").struct_size,
         t5g_sequence{.struct_size = 0,
                      .text = sequence.text.c_str(),
                      .text_size = sequence.text.size(),
                      .token_ids = sequence.token_ids.data(),
                      .n_token_ids = sequence.token_ids.size(),
                      .finish_reason = reason,
                      .has_score = sequence.score.has_value(),
                      .score = sequence.score.value_or(0)},
         "sequence");
  });
}

t5g_status t5g_result_get_logprob(const t5g_result* result, size_t index, double* logprob) {
  return guarded([&] {
    const GeneratedSequence& sequence = sequence_at(result, index);
    required(logprob, "logprob") = sequence.kept_logprob ? sequence.kept_logprob->sum(nullptr) : sequence.logprob;
  });
}

t5g_status t5g_result_get_token_logprobs(const t5g_result* result, size_t index, float* logprobs, size_t n_floats) {
  return guarded([&] {
    const GeneratedSequence& sequence = sequence_at(result, index);
    const std::vector<float> each =
        sequence.kept_logprob ? sequence.kept_logprob->each(nullptr) : sequence.token_logprobs;
    if (n_floats != each.size())
      fail("n_floats", "is " + std::to_string(n_floats) + ", expected one for each of the sequence's " +
                           std::to_string(each.size()) + " tokens.");
    if (!each.empty()) std::copy(each.begin(), each.end(), &required(logprobs, "logprobs"));
  });
}

t5g_status t5g_result_get_top_logprobs(const t5g_result* result, size_t index, size_t token, int32_t* ids,
                                       float* logprobs, size_t room, size_t* n) {
  return guarded([&] {
    required(n, "n") = 0;
    const GeneratedSequence& sequence = sequence_at(result, index);
    if (token >= sequence.token_ids.size())
      fail("token", "is " + std::to_string(token) + ", but the sequence has " +
                        std::to_string(sequence.token_ids.size()) + " tokens, from 0 on.");
    if (sequence.top_logprobs.empty()) return;  // nobody has asked for them
    const std::vector<ScoredToken>& top = sequence.top_logprobs[token];
    *n = top.size();
    for (size_t i = 0; i < std::min(room, top.size()); ++i) {
      (&required(ids, "ids"))[i] = top[i].id;
      (&required(logprobs, "logprobs"))[i] = top[i].value;
    }
  });
}

t5g_status t5g_result_get_timings(const t5g_result* result, t5g_timings* timings) {
  return guarded([&] {
    const t5g_result& it = checked(result, "result");
    give(timings, required(timings, "timings").struct_size,
         t5g_timings{.struct_size = 0,
                     .load_seconds = it.load_seconds,
                     .image_seconds = it.result.image_seconds,
                     .encode_seconds = it.result.encode_seconds,
                     .decode_seconds = it.result.decode_seconds,
                     .n_source_tokens = it.result.n_source_tokens,
                     .n_new_tokens = it.result.n_new_tokens},
         "timings");
  });
}

void t5g_result_free(t5g_result* result) { free_handle(result); }

}  // extern "C"
