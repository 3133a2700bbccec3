// The batch loop.
#include "runtime/generator.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <optional>
#include <utility>

#include "base/error.h"

namespace t5g {
namespace {

// With more sequences than a few, their own rows keep the cores as busy as the memory.
constexpr int64_t kMaxDraftedRows = 12;

// Seconds, a year: the clock counts not much further.
constexpr double kLongestTimeout = 3.2e7;

// How often somebody who waits for masks looks whether he should go on waiting.
constexpr std::chrono::milliseconds kPatience{10};

// Checks what only the model knows about options: how many tokens there are.
void check_vocabulary(const GenerationConfig& config, int32_t vocab_size) {
  const auto check = [vocab_size](const char* name, int32_t id) {
    if (id < vocab_size) return;
    throw InvalidArgument(std::string(name) + ": token " + std::to_string(id) +
                          " is outside the model's vocabulary of " + std::to_string(vocab_size) + " tokens.");
  };
  for (const LogitBias& bias : config.logit_bias) check("logit_bias", bias.token);
  for (const int32_t id : config.suppress_tokens) check("suppress_tokens", id);
  for (const int32_t id : config.eos_token_ids) check("eos_token_ids", id);
  for (const std::vector<int32_t>& word : config.bad_words) {
    for (const int32_t id : word) check("bad_words", id);
  }
  if (config.forced_bos_token_id) check("forced_bos_token_id", *config.forced_bos_token_id);
}

using Clock = std::chrono::steady_clock;
using Deadline = std::optional<Clock::time_point>;

bool has_passed(const Deadline& deadline) { return deadline && Clock::now() >= *deadline; }

// Says stop when `outer` does, which may be null, or when it is time.
class TimeLimit final : public Interrupt {
 public:
  TimeLimit(Deadline deadline, Interrupt* outer) : deadline_(deadline), outer_(outer) {}
  bool poll() override {
    if (outer_ != nullptr && outer_->poll()) return true;
    timed_out_ = timed_out_ || has_passed(deadline_);
    return timed_out_;
  }
  bool timed_out() const { return timed_out_; }

 private:
  const Deadline deadline_;
  Interrupt* const outer_;
  bool timed_out_ = false;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

// A request from its coming to its result.
struct Generator::Entry {
  size_t number;
  GenerationRequest request;  // emptied when it starts
  GenerationConfig config;    // the options, whose max_new_tokens is what the model's limit leaves room for
  std::shared_ptr<const TextOptions> text;
  uint64_t seed;
  bool streams;
  Deadline deadline;
  GenerationResult result;
  ActiveAdapters adapters;  // of its source, kept until it starts

  // Texts that can be taken before the end.
  size_t n_texts() const { return config.uses_beams() ? 0 : static_cast<size_t>(config.n_sequences()); }
};

struct Generator::Running {
  std::unique_ptr<Entry> entry;
  std::unique_ptr<GenerationJob> job;  // until it is done
  std::exception_ptr error = nullptr;  // that has ended it
};

Generator::Generator(std::shared_ptr<ModelHandle> handle, std::vector<GenerationRequest> requests,
                     GenerationConfig config, TextOptions text_options, int64_t max_batch)
    : model_(std::move(handle)),
      config_(std::move(config)),
      text_options_(std::make_shared<const TextOptions>(std::move(text_options))),
      max_batch_(max_batch),
      seed_(resolve_seed(config_)) {
  if (max_batch < 1) throw InvalidArgument("max_batch_size is " + std::to_string(max_batch) + ", expected 1 or more.");
  model_->use(nullptr, [&](const Model& model, Interrupt*) {
    model.check_has_decoder();
    check(model, config_, *text_options_);
    for (GenerationRequest& request : requests) check_and_add(model, std::move(request));
  });
  model_->add_user(*this);
}

Generator::~Generator() { model_->remove_user(*this); }

size_t Generator::add(GenerationRequest request) {
  const TicketLock::Guard guard(lock_);
  if (model_->is_closed()) throw ModelClosed();
  if (stopped_ || cancelled_.load()) throw InvalidArgument("the generation was stopped, so it takes no more sources.");
  return model_->use(nullptr, [&](const Model& model, Interrupt*) { return check_and_add(model, std::move(request)); });
}

void Generator::check(const Model& model, GenerationConfig& config, const TextOptions& text) {
  for (const std::string& stop : text.stop) {
    if (stop.empty()) throw InvalidArgument("stop has an empty string; it would end every text before it began.");
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

bool Generator::fits(const GenerationConfig& config) const {
  if (running_.empty()) return true;
  int64_t rows = config.uses_beams() ? config.num_beams : config.n_sequences();
  for (const Running& running : running_) rows += running.job->max_rows();
  return rows <= max_batch_;
}

void Generator::set_progress(std::shared_ptr<Progress> progress) {
  const TicketLock::Guard guard(lock_);
  progress_.swap(progress);
}

bool Generator::has_room() const {
  const TicketLock::Guard guard(lock_);
  return waiting_.empty() && fits(config_);
}

void Generator::start(Model& model, Interrupt* interrupt) {
  Entry& entry = *waiting_.front();
  GenerationRequest& request = entry.request;
  Model::Images images;
  auto begin = std::chrono::steady_clock::now();
  for (const auto& pixels : request.images) images.push_back(model.encode_image(pixels, interrupt, entry.adapters));
  entry.result.image_seconds = request.images.empty() ? 0 : seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  const bool reusable = request.source != nullptr;
  const auto encoded =
      reusable ? request.source
               : model
                     .encode({Model::Unread{request.source_ids, images, entry.adapters, 0, request.n_truncated}},
                             SourceOrigin::kFinal, interrupt, progress_.get())
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

void Generator::take_text(Running& running) {
  if (!running.entry->streams) return;
  for (size_t i = 0; i < running.entry->n_texts(); ++i) {
    if (std::string text = running.job->take_text(i); !text.empty())
      texts_.push_back({running.entry->number, i, std::move(text), running.job->take_tokens(i)});
  }
}

void Generator::retire(Running& running, FinishReason unfinished) {
  take_text(running);
  const std::unique_ptr<GenerationJob> job = std::move(running.job);
  if (running.error != nullptr) return drop(std::move(running.entry), unfinished, running.error);
  GenerationResult& result = running.entry->result;
  result.n_new_tokens = job->n_generated();
  ended_.n_new_tokens += result.n_new_tokens;
  ++ended_.n_finished;
  result.sequences = job->finish();
  for (GeneratedSequence& sequence : result.sequences) {
    if (sequence.finish_reason == FinishReason::kCancelled) sequence.finish_reason = unfinished;
  }
  if (running.entry->number == 0) {
    text_ += job->take_text(0);
    // Beam search knows its text only now.
    if (text_.empty() && !has_text_) text_ = result.sequences.front().text;
  }
  finished_.push_back({running.entry->number, std::move(result), nullptr});
}

// Without a text: its turn never came, or there was an error.
void Generator::drop(std::unique_ptr<Entry> entry, FinishReason reason, std::exception_ptr error) {
  entry->result.sequences.emplace_back().finish_reason = reason;
  finished_.push_back({entry->number, std::move(entry->result), std::move(error)});
}

// Ends what has taken too long.
void Generator::expire() {
  for (Running& running : running_) {
    if (has_passed(running.entry->deadline)) retire(running, FinishReason::kTimeout);
  }
  std::erase_if(running_, [](const Running& running) { return running.job == nullptr; });
  for (std::unique_ptr<Entry>& entry : waiting_) {
    if (has_passed(entry->deadline)) drop(std::move(entry), FinishReason::kTimeout);
  }
  std::erase(waiting_, nullptr);
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

// A part of a job's step. What it throws ends the whole generation, or its request alone.
void Generator::attempt(Running& running, FunctionRef<void(GenerationJob&)> body) {
  if (running.error != nullptr) return;
  try {
    body(*running.job);
  } catch (const Cancelled&) {
    throw;
  } catch (...) {
    if (!keeps_errors_) throw;
    running.error = std::current_exception();
  }
}

void Generator::stop() {
  stopped_ = true;
  for (Running& running : running_) {
    if (running.job != nullptr) retire(running);
  }
  running_.clear();
  for (std::unique_ptr<Entry>& entry : waiting_) drop(std::move(entry));
  waiting_.clear();
  logits_ = Buffer();
  idle_.store(true);
}

void Generator::add_steps(const Model& model) {
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  size_t rows = 0;
  for (const Running& running : running_) rows += static_cast<size_t>(running.job->n_logit_rows());
  if (logits_.size_bytes() < rows * vocab * sizeof(float)) logits_ = Buffer(rows * vocab * sizeof(float));
  std::span<float> logits(logits_.floats(), rows * vocab);
  const int64_t max_draft = kMaxDraftedRows / std::ssize(running_);
  steps_.clear();
  for (Running& running : running_) {
    const size_t n = static_cast<size_t>(running.job->n_logit_rows()) * vocab;
    running.job->add_steps(steps_, max_draft, logits.first(n));
    logits = logits.subspan(n);
  }
}

// Runs the steps. What constraints that take time say is found out meanwhile, and asked before the output head is.
void Generator::decode(Model& model, Interrupt* interrupt) {
  const auto think = [](GenerationJob& job) { job.think(); };
  const auto ask = [](GenerationJob& job) { job.ask(); };
  std::vector<Running*> beside;
  for (Running& running : running_) {
    if (running.job->thinks_beside()) {
      beside.push_back(&running);
    } else {
      attempt(running, think);
      attempt(running, ask);
    }
  }
  if (beside.empty()) return model.decode(steps_, interrupt);
  std::future<void> thought = std::async(std::launch::async, [&] {
    for (Running* running : beside) attempt(*running, think);
  });
  const auto put_questions = [&] {
    while (thought.wait_for(kPatience) != std::future_status::ready) {
      if (interrupt != nullptr && interrupt->poll()) throw Cancelled();
    }
    thought.get();
    for (Running* running : beside) attempt(*running, ask);
  };
  const FunctionRef<void()> before_head(put_questions);
  model.decode(steps_, interrupt, &before_head);
}

// Ends early when all that run have taken too long.
bool Generator::decode_in_time(Model& model, Interrupt* interrupt) {
  Deadline last = Clock::time_point::min();
  for (const Running& running : running_)
    last = last && running.entry->deadline ? std::max(last, running.entry->deadline) : std::nullopt;
  TimeLimit limit(last, interrupt);
  try {
    decode(model, &limit);
    return true;
  } catch (const Cancelled&) {
    if (!limit.timed_out()) throw;
    expire();
    return false;
  }
}

bool Generator::run_step(Model& model, Interrupt* interrupt) {
  expire();
  while (!waiting_.empty() && fits(waiting_.front()->config)) start_in_time(model, interrupt);
  if (running_.empty()) return false;
  const auto begin = Clock::now();
  add_steps(model);
  if (!decode_in_time(model, interrupt)) return !running_.empty() || !waiting_.empty();
  for (Running& running : running_) {
    attempt(running, [](GenerationJob& job) { job.take(); });
    if (running.entry->number == 0 && !running.entry->streams) text_ += running.job->take_text(0);
  }
  const double seconds = seconds_since(begin);
  for (Running& running : running_) {
    running.entry->result.decode_seconds += seconds;
    if (running.error != nullptr || running.job->done()) retire(running);
  }
  std::erase_if(running_, [](const Running& running) { return running.job == nullptr; });
  return !running_.empty() || !waiting_.empty();
}

void Generator::let_go() noexcept {
  // The call that has just ended may have been this one's own.
  std::optional<TicketLock::Guard> guard;
  if (!lock_.is_mine()) guard.emplace(lock_);
  lost_model_ = !cancelled_.load() && !(running_.empty() && waiting_.empty());
  try {
    stop();
  } catch (...) {  // out of memory: results are lost, but nothing on the device stays
    running_.clear();
  }
}

bool Generator::advance(Interrupt* outer) {
  if (std::exchange(lost_model_, false) && !cancelled_.load()) throw ModelClosed();
  if (stopped_ || idle_.load()) return false;
  FlagInterrupt interrupt(cancelled_, outer);
  try {
    if (!cancelled_.load()) {
      const bool more = model_->use(&interrupt, [&](Model& model, Interrupt* stop) { return run_step(model, stop); });
      if (!stopped_) idle_.store(!more);
      return more || lost_model_;
    }
  } catch (const Cancelled&) {
    if (interrupt.by_outer() || !cancelled_.load()) throw;
  } catch (...) {
    stop();
    lost_model_ = false;
    throw;
  }
  stop();
  return false;
}

bool Generator::step(Interrupt* interrupt) {
  const TicketLock::Guard guard(lock_, interrupt);
  return advance(interrupt);
}

std::optional<std::string> Generator::next_text(Interrupt* interrupt) {
  const TicketLock::Guard guard(lock_, interrupt);
  for (bool more = true; more && text_.empty();) more = advance(interrupt);
  if (text_.empty()) return std::nullopt;
  has_text_ = true;
  return std::exchange(text_, {});
}

void Generator::cancel(size_t number) {
  const TicketLock::Guard guard(lock_);
  const auto runs = std::ranges::find_if(running_, [&](const Running& r) { return r.entry->number == number; });
  if (runs != running_.end()) {
    retire(*runs);
    running_.erase(runs);
  }
  const auto waits = std::ranges::find_if(waiting_, [&](const auto& entry) { return entry->number == number; });
  if (waits != waiting_.end()) {
    drop(std::move(*waits));
    waiting_.erase(waits);
  }
  if (running_.empty() && waiting_.empty()) idle_.store(true);
}

std::string Generator::take_text() {
  const TicketLock::Guard guard(lock_);
  has_text_ = has_text_ || !text_.empty();
  return std::exchange(text_, {});
}

Generator::Reached Generator::reached() const {
  const TicketLock::Guard guard(lock_);
  Reached reached = ended_;
  for (const Running& running : running_) reached.n_new_tokens += running.job->n_generated();
  return reached;
}

void Generator::close() {
  cancel();
  if (lock_.is_mine()) return;
  const TicketLock::Guard guard(lock_);
  if (!stopped_) stop();
  text_.clear();
}

std::vector<FreshText> Generator::take_texts() {
  const TicketLock::Guard guard(lock_);
  for (Running& running : running_) take_text(running);
  return std::exchange(texts_, {});
}

std::vector<FinishedGeneration> Generator::take_finished() {
  const TicketLock::Guard guard(lock_);
  return std::exchange(finished_, {});
}

std::vector<GenerationResult> Generator::take_results() {
  const TicketLock::Guard guard(lock_);
  stop();
  std::ranges::sort(finished_, {}, &FinishedGeneration::number);
  std::vector<GenerationResult> results;
  for (FinishedGeneration& finished : std::exchange(finished_, {})) results.push_back(std::move(finished.result));
  return results;
}

std::optional<std::vector<GenerationResult>> Generator::results() const {
  if (!idle_.load()) return std::nullopt;
  const TicketLock::Guard guard(lock_);
  std::vector<FinishedGeneration> sorted = finished_;
  std::ranges::sort(sorted, {}, &FinishedGeneration::number);
  std::vector<GenerationResult> results;
  for (FinishedGeneration& finished : sorted) results.push_back(std::move(finished.result));
  return results;
}

}  // namespace t5g
