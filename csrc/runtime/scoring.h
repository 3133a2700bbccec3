// Teacher forcing of many targets at once: their tokens go through the decoder together, a few of each at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/interrupt.h"
#include "runtime/model.h"

namespace t5g {

struct ScoringRequest {
  std::shared_ptr<const EncodedSource> source;  // or null: source_ids are encoded, with the images they mention
  std::vector<int32_t> source_ids;
  std::vector<std::vector<uint8_t>> images;
  AdapterChoices adapters;      // that source_ids are read with, and the target
  std::vector<int32_t> target;  // without the start token
};

// Log-probabilities of every target's tokens, the bits that each would get alone. max_batch: targets at once. Checks
// all of them before any work. Throws InvalidArgument, InputTooLong, Cancelled.
std::vector<std::vector<float>> score_targets(Model& model, const std::vector<ScoringRequest>& requests,
                                              int64_t max_batch, Interrupt* interrupt);

}  // namespace t5g
