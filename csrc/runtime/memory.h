// How much memory a model needs, and how fast this machine reads memory: together they bound the speed of decoding.
#pragma once

#include <cstdint>

#include "model/config.h"
#include "model/weights.h"

namespace t5g {

struct MemoryNeeds {
  int64_t weights_bytes;           // all matrices of encoder and decoder, packed
  int64_t vision_weights_bytes;    // all matrices of the image tower, packed when the first image is read
  int64_t decode_weights_bytes;    // those that one decode step reads: decoder layers and head
  int64_t workspace_bytes;         // activations of one pass
  int64_t image_workspace_bytes;   // those of one image, while it is read
  int64_t bytes_per_source_token;  // keys and values of the source in all decoder layers, and its hidden states
  int64_t bytes_per_target_token;  // keys and values of the sequence's own tokens
};

// Of one source.
struct SourceBytes {
  int64_t reading;  // its states, and one layer's keys and values
  int64_t writing;  // its states and what the decoder looks at
};

// What the rest of the runtime needs.
struct RuntimeBytes {
  int64_t page_bytes;       // of a page of the decoder's pool
  int64_t image_bytes;      // of a VisionWorkspace, 0 without an image tower
  int64_t workspace_bytes;  // of both sides
};
MemoryNeeds memory_needs(const Config& config, const Weights& weights, const RuntimeBytes& runtime);

// Bytes per second that so many threads together read from memory: the best of several passes over a buffer much larger
// than any cache.
double read_bandwidth(int n_threads);

}  // namespace t5g
