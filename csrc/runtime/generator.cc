// The batch loop: what runs, what ends, and what is given of it. generator_requests.cc has how requests come.
#include "runtime/generator.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "runtime/generator_entry.h"

namespace t5g {
namespace {

// With more sequences than a few, their own rows keep the cores as busy as the memory.
constexpr int64_t kMaxDraftedRows = 12;

// How often somebody who waits for masks looks whether he should go on waiting.
constexpr std::chrono::milliseconds kPatience{10};

}  // namespace

Generator::Generator(std::shared_ptr<ModelHandle> handle, std::vector<GenerationRequest> requests,
                     GenerationConfig config, TextOptions text_options, int64_t max_batch)
    : model_(std::move(handle)),
      config_(std::move(config)),
      text_options_(std::make_shared<const TextOptions>(std::move(text_options))),
      max_batch_(max_batch),
      seed_(resolve_seed(config_)) {
  if (max_batch < 1)
    throw InvalidArgument(Argument{"max_batch_size"} + " is " + std::to_string(max_batch) + ", expected 1 or more.");
  model_->use(nullptr, [&](const Model& model, Interrupt*) {
    model.check_has_decoder();
    check(model, config_, *text_options_);
    for (GenerationRequest& request : requests) check_and_add(model, std::move(request));
  });
  model_->add_user(*this);
}

Generator::~Generator() { model_->remove_user(*this); }

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

// A part of a job's step. What it throws ends the whole generation, or its request alone.
void Generator::attempt(Running& running, FunctionRef<void(GenerationJob&)> body) {
  if (running.error != nullptr) return;
  try {
    body(*running.job);
  } catch (const Cancelled&) {
    throw;
  } catch (...) {
    if (!keeps_errors_.load()) throw;
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
