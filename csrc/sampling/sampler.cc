// The steps of one token: processors on the row, then argmax, or warpers and a draw.
#include "sampling/sampler.h"

#include <limits>

#include "kernels/cpu/kernels.h"

namespace t5g {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

}  // namespace

Sampler::Sampler(const GenerationConfig& config, int64_t prompt_length, uint64_t seed, int32_t sequence,
                 AllowedTokens* allowed)
    : config_(config), processors_(config, prompt_length, allowed), random_(seed, static_cast<uint64_t>(sequence)) {}

SampledToken Sampler::next(std::span<float> logits, std::span<const int32_t> ids) {
  const float log_sum = kernels::active().log_sum_exp(logits.data(), std::ssize(logits));
  processors_.apply(logits, ids);
  const int32_t token = choose(logits);
  return {token, processors_.original(logits, token) - log_sum};
}

int32_t Sampler::choose(std::span<const float> row) {
  if (config_.samples()) {
    sampling::warp(config_, row, candidates_);
    if (!candidates_.empty()) return sampling::draw(candidates_, random_);
  } else {
    const int64_t best = kernels::active().argmax(row.data(), std::ssize(row));
    if (row[best] > kBanned) return static_cast<int32_t>(best);
  }
  sampling::throw_all_banned();
}

}  // namespace t5g
