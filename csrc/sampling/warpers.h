// Steps of random sampling: from a row of logits to the few tokens to draw from, and their weights.
#pragma once

#include <span>
#include <vector>

#include "sampling/generation_config.h"
#include "sampling/random.h"
#include "sampling/top.h"

namespace t5g::sampling {

// Tokens that may be drawn: first with their logits as value, then with weights, exp((logit - largest) / temperature).
using Candidates = std::vector<Scored>;

// The tokens that temperature, top_k, top_p and min_p leave, with their weights; empty when every token is banned.
// Same set as Hugging Face's, whose order of steps is temperature, top_k, top_p, min_p.
void warp(const GenerationConfig& config, std::span<const float> row, Candidates& candidates);

// An id with probability proportional to its weight. candidates: not empty.
int32_t draw(const Candidates& candidates, RandomStream& random);

}  // namespace t5g::sampling
