// The batch loop.
#include "runtime/generator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/error.h"

namespace t5g {
namespace {

// With more sequences than a few, their own rows keep the cores as busy as the memory.
constexpr int64_t kMaxDraftedRows = 12;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

// A request from its coming to its result.
struct Generator::Entry {
  size_t number;
  GenerationRequest request;  // emptied when it starts
  GenerationConfig config;    // the options, whose max_new_tokens is what the model's limit leaves room for
  GenerationResult result;
};

struct Generator::Running {
  std::unique_ptr<Entry> entry;
  std::unique_ptr<GenerationJob> job;
};

// The caller's interrupt, or cancel().
class Generator::CancelInterrupt final : public Interrupt {
 public:
  CancelInterrupt(const std::atomic<bool>& cancelled, Interrupt* outer) : cancelled_(cancelled), outer_(outer) {}
  bool poll() override { return cancelled_.load(std::memory_order_relaxed) || (outer_ != nullptr && outer_->poll()); }

 private:
  const std::atomic<bool>& cancelled_;
  Interrupt* const outer_;
};

Generator::Generator(std::shared_ptr<Model> model, std::vector<GenerationRequest> requests, GenerationConfig config,
                     TextOptions text_options, int64_t max_batch)
    : model_(std::move(model)),
      config_(std::move(config)),
      text_options_(std::move(text_options)),
      max_batch_(max_batch),
      seed_(resolve_seed(config_)) {
  if (max_batch < 1) throw InvalidArgument("max_batch_size is " + std::to_string(max_batch) + ", expected 1 or more.");
  for (const std::string& text : text_options_.stop) {
    if (text.empty()) throw InvalidArgument("stop has an empty string; it would end every text before it began.");
  }
  if (!text_options_.stop.empty()) model_->tokenizer().require_text();
  config_.eos_token_ids = model_->config().eos_token_ids;
  config_.validate();
  for (GenerationRequest& request : requests) add(std::move(request));
}

Generator::~Generator() = default;

size_t Generator::add(GenerationRequest request) {
  const Config& config = model_->config();
  const int64_t limit = config.decoder.max_position_embeddings;
  std::vector<int32_t>& prefix = request.decoder_prefix;
  if (prefix.empty() || prefix.front() != config.decoder_start_token_id)
    prefix.insert(prefix.begin(), config.decoder_start_token_id);
  Model::check_ids("target", prefix, config.decoder);
  if (request.source != nullptr) {
    model_->check_source(*request.source);
  } else {
    Model::check_ids("source", request.source_ids, config.encoder);
    model_->check_images(request.source_ids, request.images.size());
    for (const auto& pixels : request.images) model_->check_pixels(pixels);
  }
  // The last token that is generated needs no position of its own.
  const int64_t room = limit - static_cast<int64_t>(prefix.size()) + 1;
  auto entry = std::make_unique<Entry>(Entry{n_requests_, std::move(request), config_, {}});
  entry->config.max_new_tokens = static_cast<int32_t>(std::min<int64_t>(config_.max_new_tokens, room));
  waiting_.push_back(std::move(entry));
  return n_requests_++;
}

bool Generator::fits_one_more() const {
  if (running_.empty()) return true;
  int64_t rows = config_.uses_beams() ? config_.num_beams : config_.num_return_sequences;
  for (const Running& running : running_) rows += running.job->max_rows();
  return rows <= max_batch_;
}

bool Generator::has_room() const { return waiting_.empty() && fits_one_more(); }

// The one that has waited longest.
void Generator::start(Interrupt* interrupt) {
  Entry& entry = *waiting_.front();
  GenerationRequest& request = entry.request;
  Model::Images images;
  auto begin = std::chrono::steady_clock::now();
  for (const auto& pixels : request.images) images.push_back(model_->encode_image(pixels, interrupt));
  entry.result.image_seconds = request.images.empty() ? 0 : seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  const bool reusable = request.source != nullptr;
  const auto encoded = reusable ? request.source : model_->encode(request.source_ids, images, interrupt);
  const auto projected =
      reusable ? model_->project_and_keep(*encoded, interrupt) : model_->project(*encoded, interrupt);
  entry.result.encode_seconds = seconds_since(begin);
  entry.result.n_source_tokens = std::ssize(encoded->ids());
  JobInput input{*model_, encoded->ids(), projected, request.decoder_prefix, entry.config, text_options_, seed_};
  const auto make_job = config_.uses_beams() ? make_beam_job : config_.samples() ? make_sampling_job : make_greedy_job;
  auto job = make_job(std::move(input));
  request = {};  // not before: an interrupted call may be taken up again
  running_.push_back({std::move(waiting_.front()), std::move(job)});
  waiting_.pop_front();
}

void Generator::retire(Running& running) {
  GenerationResult& result = running.entry->result;
  result.n_new_tokens = running.job->n_generated();
  result.sequences = running.job->finish();
  if (running.entry->number == 0) text_ += running.job->take_text();
  finished_.push_back({running.entry->number, std::move(result)});
}

void Generator::add_steps() {
  const auto vocab = static_cast<size_t>(model_->config().vocab_size);
  size_t rows = 0;
  for (const Running& running : running_) rows += static_cast<size_t>(running.job->n_logit_rows());
  if (logits_.size_bytes() < rows * vocab * sizeof(float)) logits_ = Buffer(rows * vocab * sizeof(float));
  std::span<float> logits(logits_.floats(), rows * vocab);
  const int64_t max_draft = kMaxDraftedRows / std::ssize(running_);
  for (Running& running : running_) {
    const size_t n = static_cast<size_t>(running.job->n_logit_rows()) * vocab;
    running.job->add_steps(steps_, max_draft, logits.first(n));
    logits = logits.subspan(n);
  }
}

bool Generator::step(Interrupt* outer) {
  CancelInterrupt interrupt(cancelled_, outer);
  try {
    if (cancelled_.load()) throw Cancelled();
    while (!waiting_.empty() && fits_one_more()) start(&interrupt);
    if (running_.empty()) return false;
    const auto begin = std::chrono::steady_clock::now();
    steps_.clear();
    add_steps();
    model_->decode(steps_, &interrupt);
    for (Running& running : running_) {
      running.job->take();
      if (running.entry->number == 0) text_ += running.job->take_text();
    }
    const double seconds = seconds_since(begin);
    for (Running& running : running_) {
      running.entry->result.decode_seconds += seconds;
      if (running.job->done()) retire(running);
    }
  } catch (const Cancelled&) {
    if (!cancelled_.load()) throw;
    return false;
  }
  std::erase_if(running_, [](const Running& running) { return running.job->done(); });
  return !running_.empty() || !waiting_.empty();
}

std::string Generator::take_text() { return std::exchange(text_, {}); }

std::vector<FinishedGeneration> Generator::take_finished() { return std::exchange(finished_, {}); }

std::vector<GenerationResult> Generator::take_results() {
  for (Running& running : running_) retire(running);
  running_.clear();
  for (const std::unique_ptr<Entry>& entry : waiting_) {
    entry->result.sequences.emplace_back();  // its turn never came
    finished_.push_back({entry->number, std::move(entry->result)});
  }
  waiting_.clear();
  std::ranges::sort(finished_, {}, &FinishedGeneration::number);
  std::vector<GenerationResult> results;
  for (FinishedGeneration& finished : take_finished()) results.push_back(std::move(finished.result));
  return results;
}

}  // namespace t5g
