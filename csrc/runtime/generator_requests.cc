// How a request comes to the generator, and what is done until its first step: checks, images, source, job.
#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "runtime/generator_entry.h"
#include "runtime/reading_progress.h"

namespace t5g {
namespace {

// Seconds, a year: the clock counts not much further.
constexpr double kLongestTimeout = 3.2e7;

// Checks what only the model knows about options: how many tokens there are.
void check_vocabulary(const GenerationConfig& config, int32_t vocab_size) {
  const auto check = [vocab_size](const char* name, int32_t id) {
    if (id < vocab_size) return;
    throw InvalidArgument(Argument{name} + ": token " + std::to_string(id) + " is outside the model's vocabulary of " +
                          std::to_string(vocab_size) + " tokens.");
  };
  for (const LogitBias& bias : config.logit_bias) check("logit_bias", bias.token);
  for (const int32_t id : config.suppress_tokens) check("suppress_tokens", id);
  for (const int32_t id : config.eos_token_ids) check("eos_token_ids", id);
  for (const std::vector<int32_t>& word : config.bad_words) {
    for (const int32_t id : word) check("bad_words", id);
  }
  if (config.forced_bos_token_id) check("forced_bos_token_id", *config.forced_bos_token_id);
}

}  // namespace

size_t Generator::add(GenerationRequest request) {
  const TicketLock::Guard guard(lock_);
  if (model_->is_closed()) throw ModelClosed();
  if (stopped_ || cancelled_.load()) throw InvalidArgument("the generation was stopped, so it takes no more sources.");
  return model_->use(nullptr, [&](const Model& model, Interrupt*) { return check_and_add(model, std::move(request)); });
}

void Generator::check(const Model& model, GenerationConfig& config, const TextOptions& text) {
  for (const std::string& stop : text.stop) {
    if (stop.empty())
      throw InvalidArgument(Argument{"stop"} + " has an empty string; it would end every text before it began.");
  }
  if (!text.stop.empty()) model.tokenizer()->require_text();
  config.validate();
  check_vocabulary(config, model.config().vocab_size);
  if (config.eos_token_ids.empty()) config.eos_token_ids = model.config().eos_token_ids;
}

size_t Generator::check_and_add(const Model& model, GenerationRequest request) {
  const Config& config = model.config();
  const int64_t limit = config.decoder.max_tokens;
  std::vector<int32_t>& prefix = request.decoder_prefix;
  if (prefix.empty() || prefix.front() != config.decoder_start_token_id)
    prefix.insert(prefix.begin(), config.decoder_start_token_id);
  Model::check_ids("target", prefix, config.decoder);
  ActiveAdapters adapters;
  if (request.source != nullptr) {
    adapters = model.check_readable(*request.source);
  } else {
    Model::check_ids("source", request.source_ids, config.encoder);
    model.check_images(request.source_ids, request.images.size());
    for (const auto& pixels : request.images) model.check_pixels(pixels);
    adapters = model.adapters().choose(request.adapters);
  }
  // The last token that is generated needs no position of its own.
  const int64_t room = limit - static_cast<int64_t>(prefix.size()) + 1;
  const std::shared_ptr<const RequestOptions> own = std::move(request.options);
  const bool streams = request.streams;
  auto entry = std::make_unique<Entry>(Entry{n_requests_,
                                             std::move(request),
                                             own ? own->config : config_,
                                             text_options_,
                                             seed_,
                                             streams,
                                             {},
                                             {},
                                             std::move(adapters)});
  if (own != nullptr) {
    entry->text = std::shared_ptr<const TextOptions>(own, &own->text);
    check(model, entry->config, *entry->text);
    entry->seed = resolve_seed(entry->config);
  }
  entry->config.max_new_tokens = static_cast<int32_t>(std::min<int64_t>(entry->config.max_new_tokens, room));
  if (const double timeout = entry->config.timeout; timeout > 0 && timeout < kLongestTimeout)
    entry->deadline =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(timeout));
  waiting_.push_back(std::move(entry));
  idle_.store(false);
  return n_requests_++;
}

void Generator::start(Model& model, Interrupt* interrupt) {
  Entry& entry = *waiting_.front();
  GenerationRequest& request = entry.request;
  Model::Images images;
  auto begin = Clock::now();
  SourceProgress reading(model.config(), std::ssize(request.source_ids), request.images.size(), progress_.get());
  for (const auto& pixels : request.images)
    images.push_back(model.encode_image(pixels, interrupt, entry.adapters, reading.next()));
  entry.result.image_seconds = request.images.empty() ? 0 : seconds_since(begin);
  begin = Clock::now();
  const bool reusable = request.source != nullptr;
  const auto encoded =
      reusable ? request.source
               : model
                     .encode({Model::Unread{request.source_ids, images, entry.adapters, 0, request.n_truncated}},
                             SourceOrigin::kFinal, interrupt, reading.next())
                     .front();
  const auto projected = reusable ? model.project_and_keep(*encoded, entry.adapters, interrupt)
                                  : model.project(*encoded, entry.adapters, interrupt);
  entry.result.encode_seconds = seconds_since(begin);
  entry.result.n_source_tokens = std::ssize(encoded->ids());
  entry.result.n_truncated = encoded->n_truncated();
  JobInput input{.handle = model_,
                 .model = model,
                 .source_ids = encoded->ids(),
                 .source = projected,
                 .prompt_ids = request.decoder_prefix,
                 .config = entry.config,
                 .text = *entry.text,
                 .seed = entry.seed,
                 .streams = entry.streams};
  const auto make_job = entry.config.uses_beams() ? make_beam_job : make_sequences_job;
  auto job = make_job(std::move(input));
  request = {};  // not before: an interrupted call may be taken up again
  running_.push_back({std::move(waiting_.front()), std::move(job)});
  waiting_.pop_front();
}

// The one that has waited longest, unless that takes too long.
void Generator::start_in_time(Model& model, Interrupt* interrupt) {
  TimeLimit limit(waiting_.front()->deadline, interrupt);
  try {
    start(model, &limit);
  } catch (const Cancelled&) {
    if (!limit.timed_out()) throw;
    drop(std::move(waiting_.front()), FinishReason::kTimeout);
    waiting_.pop_front();
  }
}

}  // namespace t5g
