// Sums over the weights; and a loop that does nothing but read.
#include "runtime/memory.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/thread_pool.h"
#include "tensor/buffer.h"

namespace t5g {
namespace {

int64_t size_of(const MatrixPtr& matrix) {
  return matrix == nullptr ? 0 : static_cast<int64_t>(matrix->weight().size_bytes());
}

int64_t size_of(const AttentionWeights& w) {
  return size_of(w.q_proj) + size_of(w.k_proj) + size_of(w.v_proj) + size_of(w.o_proj);
}

int64_t size_of(const MlpWeights& w) { return size_of(w.gate_proj) + size_of(w.up_proj) + size_of(w.down_proj); }

int64_t size_of(const VisionWeights& w) {
  int64_t bytes = size_of(w.patch_embedding.weight) + size_of(w.mm_input_projection);
  for (const VisionLayer& layer : w.layers) {
    for (const BiasedLinear* linear :
         {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.out_proj, &layer.fc1, &layer.fc2})
      bytes += size_of(linear->weight);
  }
  return bytes;
}

int64_t head_bytes(const Weights& weights) {
  return weights.lm_head == nullptr ? 0 : static_cast<int64_t>(weights.lm_head->weight().size_bytes());
}

// The head and all tables, of which the first may be the same tensor.
int64_t vocabulary_bytes(const Weights& weights) {
  int64_t bytes = head_bytes(weights);
  for (size_t i = weights.is_tied ? 1 : 0; i < weights.tables.size(); ++i)
    bytes += static_cast<int64_t>(weights.tables[i]->weight().size_bytes());
  return bytes;
}

// Adds up `n` words, n a multiple of 64; the sums of eight streams keep many reads in flight.
uint64_t sum_words(const uint64_t* words, int64_t n) {
  uint64_t sums[64] = {};
  for (int64_t i = 0; i < n; i += 64) {
    for (int j = 0; j < 64; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t s : sums) sum += s;
  return sum;
}

}  // namespace

MemoryNeeds memory_needs(const Config& config, const Weights& weights, const RuntimeBytes& runtime) {
  MemoryNeeds needs{};
  if (weights.vision) {
    needs.vision_weights_bytes = size_of(*weights.vision);
    needs.image_workspace_bytes = runtime.image_bytes;
  }
  for (const DecoderLayer& layer : weights.decoder_layers)
    needs.decode_weights_bytes += size_of(layer.self_attn) + size_of(layer.cross_attn) + size_of(layer.mlp);
  needs.weights_bytes = needs.decode_weights_bytes;
  needs.decode_weights_bytes += head_bytes(weights);
  needs.weights_bytes += vocabulary_bytes(weights);
  for (const EncoderLayer& layer : weights.encoder_layers)
    needs.weights_bytes += size_of(layer.self_attn) + size_of(layer.mlp);
  needs.workspace_bytes = runtime.workspace_bytes;
  const int64_t kv_bytes = runtime.page_bytes / kKvChunk;
  needs.bytes_per_source_token = kv_bytes + int64_t{config.encoder.hidden_size} * 4;
  needs.bytes_per_target_token = kv_bytes;
  return needs;
}

double read_bandwidth(int n_threads) {
  constexpr size_t kBufferBytes = size_t{256} << 20;
  constexpr int kPasses = 6;
  constexpr int64_t kWordsPerItem = 1 << 17;  // 1 MB: small enough for threads to share evenly
  const Buffer buffer(kBufferBytes);
  std::fill_n(buffer.floats(), kBufferBytes / sizeof(float), 1.0f);
  const auto* words = reinterpret_cast<const uint64_t*>(buffer.data());
  const auto n_items = static_cast<int64_t>(kBufferBytes / sizeof(uint64_t)) / kWordsPerItem;
  ThreadPool pool(n_threads);
  std::atomic<uint64_t> sink{0};  // keeps the reads from being optimised away
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(n_items, [&](int64_t item, int) {
      sink.fetch_add(sum_words(words + item * kWordsPerItem, kWordsPerItem), std::memory_order_relaxed);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(kBufferBytes) / seconds);
  }
  return best;
}

}  // namespace t5g
