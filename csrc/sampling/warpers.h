// Steps of random sampling: from the logits of some tokens to the few to draw from, and their weights.
#pragma once

#include <vector>

#include "ops/selection.h"
#include "sampling/generation_config.h"
#include "sampling/random.h"

namespace t5g::sampling {

// Tokens that may be drawn, ids ascending: first with their logits as value, then with weights, exp((logit - largest) /
// temperature).
using Candidates = std::vector<ScoredToken>;

// Cuts the candidates to those that temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff and eta_cutoff leave,
// in this order, which is Hugging Face's, and gives them their weights.
void warp(const GenerationConfig& config, Candidates& candidates);

// An id with probability proportional to its weight. candidates: not empty.
int32_t draw(const Candidates& candidates, RandomStream& random);

}  // namespace t5g::sampling
