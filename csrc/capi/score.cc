// Numbers about a source: log-probabilities and logits of a given target, and vectors.
#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "capi/handles.h"

namespace t5g::capi {
namespace {

// A fresh sequence fed with all of `ids`, and one question about what follows each of them.
void teacher_force(Model& model, const EncodedSource& source, std::span<const int32_t> ids, std::span<Selection> wanted,
                   Interrupt* interrupt) {
  const std::shared_ptr<const SourceCache> projected = model.project_and_keep(source, interrupt);
  KvCache cache = model.new_cache();
  model.decode_all({projected.get(), &cache, ids, wanted}, interrupt);
}

void score(Model& model, const EncodedSource& source, const std::vector<int32_t>& target, float* out, Interrupt* stop) {
  model.check_has_decoder();
  Model::check_ids("target", target, model.config().decoder);
  model.check_source(source);
  if (target.empty()) return;
  std::vector<int32_t> ids{model.config().decoder_start_token_id};
  ids.insert(ids.end(), target.begin(), target.end() - 1);  // nothing is asked about what follows the last token
  std::vector<Selection> wanted(target.size());
  for (size_t i = 0; i < target.size(); ++i) {
    wanted[i].ids = {target[i]};
    wanted[i].log_sum_exp = LogSumExp::kYes;
  }
  teacher_force(model, source, ids, wanted, stop);
  for (size_t i = 0; i < target.size(); ++i) out[i] = wanted[i].values[0] - wanted[i].found_log_sum_exp.value();
}

void check_room(size_t n_floats, size_t expected, const char* what) {
  if (n_floats != expected) {
    fail("n_floats", "is " + std::to_string(n_floats) + ", expected " + std::to_string(expected) + ": " + what + ".");
  }
}

// In NumPy's order: in pairs of eight sums for up to 128 values, and in halves of multiples of eight beyond. So an
// embedding has the bits that it has in Python.
float sum_of_squares(const float* values, size_t n) {
  constexpr size_t kLanes = 8, kBlock = 128;
  if (n < kLanes) {
    float sum = 0;
    for (size_t i = 0; i < n; ++i) sum += values[i] * values[i];
    return sum;
  }
  if (n > kBlock) {
    const size_t half = n / 2 - n / 2 % kLanes;
    return sum_of_squares(values, half) + sum_of_squares(values + half, n - half);
  }
  float sums[kLanes];
  for (size_t i = 0; i < kLanes; ++i) sums[i] = values[i] * values[i];
  size_t i = kLanes;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += values[i + lane] * values[i + lane];
  }
  float sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  for (; i < n; ++i) sum += values[i] * values[i];
  return sum;
}

void pool(const EncodedSource& source, int32_t pooling, std::span<float> out) {
  const StateRows& states = source.hidden_states();
  std::fill(out.begin(), out.end(), 0.0f);
  if (states.rows() == 0) return;
  states.read(pooling == T5G_POOLING_LAST ? states.rows() - 1 : 0, 1, out.data());
  if (pooling == T5G_POOLING_FIRST || pooling == T5G_POOLING_LAST) return;
  std::vector<float> row(out.size());
  for (int64_t i = 1; i < states.rows(); ++i) {
    states.read(i, 1, row.data());
    for (size_t j = 0; j < row.size(); ++j)
      out[j] = pooling == T5G_POOLING_MAX ? std::max(out[j], row[j]) : out[j] + row[j];
  }
  if (pooling == T5G_POOLING_MAX) return;
  for (float& value : out) value /= static_cast<float>(states.rows());
}

void normalize_to_one(std::span<float> vector) {
  const float norm = std::sqrt(sum_of_squares(vector.data(), vector.size()));
  if (!(norm > 0)) return;
  for (float& value : vector) value /= norm;
}

}  // namespace
}  // namespace t5g::capi

extern "C" {

using namespace t5g;
using namespace t5g::capi;

t5g_status t5g_score(t5g_model* model, const t5g_source* source, const int32_t* ids, size_t n_ids, t5g_cancel* cancel,
                     float* logprobs) {
  return guarded([&] {
    const t5g_model& it = checked(model, "model");
    const EncodedSource& encoded = *checked(source, "source").source;
    const std::vector<int32_t> target = ids_argument(ids, n_ids, "ids");
    if (n_ids > 0) required(logprobs, "logprobs");
    CancelInterrupt interrupt(cancel);
    use(it, &interrupt, [&](Model& m, Interrupt* stop) { score(m, encoded, target, logprobs, stop); });
  });
}

t5g_status t5g_logits(t5g_model* model, const t5g_source* source, const int32_t* ids, size_t n_ids, t5g_cancel* cancel,
                      float* logits, size_t n_floats) {
  return guarded([&] {
    const t5g_model& it = checked(model, "model");
    const EncodedSource& encoded = *checked(source, "source").source;
    const std::vector<int32_t> target = ids_argument(ids, n_ids, "ids");
    CancelInterrupt interrupt(cancel);
    use(it, &interrupt, [&](Model& m, Interrupt* stop) {
      m.check_has_decoder();
      Model::check_ids("target", target, m.config().decoder);
      m.check_source(encoded);
      const auto vocab = static_cast<size_t>(m.config().vocab_size);
      check_room(n_floats, n_ids * vocab, "n_ids rows of vocab_size");
      if (n_ids == 0) return;
      required(logits, "logits");
      std::vector<Selection> wanted(n_ids);
      for (size_t i = 0; i < n_ids; ++i) wanted[i].all = {logits + i * vocab, vocab};
      teacher_force(m, encoded, target, wanted, stop);
    });
  });
}

t5g_status t5g_embed(const t5g_source* source, int32_t pooling, int32_t normalize, float* vector, size_t n_floats) {
  return guarded([&] {
    const EncodedSource& encoded = *checked(source, "source").source;
    if (pooling < T5G_POOLING_MEAN || pooling > T5G_POOLING_MAX)
      fail("pooling", "must be one of the constants of t5g.h, got " + std::to_string(pooling) + ".");
    required(vector, "vector");
    check_room(n_floats, static_cast<size_t>(encoded.hidden_size()), "the model's hidden_size");
    const std::span<float> out(vector, n_floats);
    pool(encoded, pooling, out);
    if (normalize != 0) normalize_to_one(out);
  });
}

}  // extern "C"
