// Puts questions and applies the steps to their answers.
#include "sampling/logits_processors.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "base/error.h"

namespace t5g::sampling {
void throw_all_banned() {
  throw Error("generate: every token is banned at this position. Relax " + Argument{"no_repeat_ngram_size"} +
              ", the suppressed tokens or the constraint.");
}

LogitsProcessors::LogitsProcessors(const GenerationConfig& config, int64_t prompt_length,
                                   std::span<const int32_t> source_ids, std::span<const Processor> more)
    : config_(config), prompt_length_(prompt_length), source_(config, source_ids) {
  for (const std::span<const Processor> steps : {processors(), more}) {
    std::copy_if(steps.begin(), steps.end(), std::back_inserter(steps_),
                 [&](const Processor& step) { return step.is_used(config_); });
  }
}

SequenceState LogitsProcessors::state(std::span<const int32_t> ids) const {
  return {config_, source_, ids, std::ssize(ids) - prompt_length_};
}

void LogitsProcessors::touched(std::span<const int32_t> ids, std::vector<int32_t>& tokens) const {
  tokens.clear();
  for (const Processor& step : steps_) step.touches(state(ids), tokens);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
}

bool LogitsProcessors::asks_few(std::span<const int32_t> ids, const Allowed& allowed) const {
  return allowed.kind == Allowed::Kind::kFew || forced_token(config_, ids) >= 0;
}

void LogitsProcessors::ask(std::span<const int32_t> ids, const Allowed& allowed, size_t n_best,
                           Selection& question) const {
  question.n_best = 0;
  if (const int32_t forced = forced_token(config_, ids); forced >= 0) {
    if (allowed.has(forced)) question.ids.push_back(forced);
    return;
  }
  if (allowed.kind == Allowed::Kind::kFew) {
    question.ids = allowed.ids;
    return;
  }
  touched(ids, question.ids);
  question.n_best = n_best;
  if (allowed.kind == Allowed::Kind::kAll) return;
  std::erase_if(question.ids, [&](int32_t id) { return !allowed.has(id); });
  question.allowed = allowed.mask;
}

void LogitsProcessors::run(const LogitRow& row, std::span<const int32_t> ids) {
  replaced_.clear();
  // Steps before the one that forces a token may have banned it.
  if (const int32_t forced = forced_token(config_, ids); forced >= 0) {
    if (const float* logit = row.find(forced)) replaced_.push_back({forced, *logit});
  }
  for (const Processor& step : steps_) step.apply(state(ids), row, replaced_);
}

void LogitsProcessors::apply(std::span<float> row, std::span<const int32_t> ids) {
  run(LogitRow(row), ids);
  const int32_t forced = forced_token(config_, ids);
  for (size_t id = 0; forced >= 0 && id < row.size(); ++id) {
    if (static_cast<int32_t>(id) != forced) row[id] = kBanned;
  }
}

void LogitsProcessors::apply(Selection& answer, std::span<const int32_t> ids) {
  if (!answer.all.empty()) {
    apply(answer.all, ids);
    keep_allowed(answer.all, answer.allowed);
    return;
  }
  const bool is_all = answer.n_best == 0 || !answer.allowed.empty();
  run(LogitRow(answer.ids, answer.values, is_all), ids);
}

float LogitsProcessors::original(int32_t token, float value) const {
  const auto found =
      std::find_if(replaced_.begin(), replaced_.end(), [token](const ReplacedLogit& r) { return r.token == token; });
  return found == replaced_.end() ? value : found->value;
}

BestToken choose_best(LogitsProcessors& processors, Selection& answer, std::span<const int32_t> ids) {
  processors.apply(answer, ids);
  ScoredToken best{kBanned, -1};
  if (!answer.best.empty()) best = answer.best.front();
  for (size_t i = 0; i < answer.ids.size(); ++i) {
    const ScoredToken token{answer.values[i], answer.ids[i]};
    if (token.value > kBanned && (best.id < 0 || better(token, best))) best = token;
  }
  if (best.id < 0) throw_all_banned();
  return {best.id, processors.original(best.id, best.value)};
}

void rank(const Selection& answer, std::vector<ScoredToken>& tokens) {
  tokens = answer.best;
  for (size_t i = 0; i < answer.ids.size(); ++i) {
    if (answer.values[i] > kBanned) tokens.push_back({answer.values[i], answer.ids[i]});
  }
  std::sort(tokens.begin(), tokens.end(), t5g::better);
}

}  // namespace t5g::sampling
