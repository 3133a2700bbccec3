// Whole tiny models through t5g.h, where there is no Python: hidden states, logits and greedy texts against what
// transformers computed. Says the bits of its logits, so that systems can be compared.
//
//   golden_models MODEL.gguf ARRAYS ...       each ARRAYS a text with lines "NAME COUNT VALUE ...", as
//                                             tools/checks/platforms.py makes them of tests/goldens
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "capi/t5g.h"
#include "checks.h"

namespace {

using Arrays = std::map<std::string, std::vector<double>>;

// As tests/model/test_parity.py has it: room for another order of sums and nothing else.
constexpr double kTolerance = 2e-4;

Arrays read(const char* path) {
  Arrays arrays;
  std::ifstream file(path);
  std::string name;
  size_t count = 0;
  while (file >> name >> count) {
    std::vector<double>& values = arrays[name];
    values.resize(count);
    for (double& value : values) file >> value;
    T5G_CHECK(file.good());
  }
  T5G_CHECK(arrays.contains("logits"));
  return arrays;
}

std::vector<int32_t> ids(const Arrays& arrays, const std::string& name) {
  const std::vector<double>& values = arrays.at(name);
  return {values.begin(), values.end()};
}

// The largest difference, relative to the largest value.
double relative_error(std::span<const float> found, const std::vector<double>& expected) {
  T5G_CHECK(found.size() == expected.size());
  double difference = 0, largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference = std::max(difference, std::abs(double{found[i]} - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
    T5G_CHECK(std::isfinite(found[i]));
  }
  return difference / largest;
}

// FNV-1a of the numbers' bits.
uint64_t hash(std::span<const float> values) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ (bits >> shift & 0xff)) * 0x100000001b3u;
  }
  return hash;
}

t5g_source* encode(t5g_model* model, const std::vector<int32_t>& tokens) {
  t5g_source* source = nullptr;
  T5G_CHECK(t5g_encode_ids(model, tokens.data(), tokens.size(), nullptr, &source) == T5G_OK);
  return source;
}

void check_hidden_states(const t5g_source* source, const Arrays& expected) {
  float* states = nullptr;
  size_t n_tokens = 0, width = 0;
  T5G_CHECK(t5g_source_get_hidden_states(source, &states, &n_tokens, &width) == T5G_OK);
  T5G_CHECK(relative_error({states, n_tokens * width}, expected.at("hidden_states")) < kTolerance);
  t5g_free(states);
}

// Returns the hash of the logits.
uint64_t check_logits(t5g_model* model, const t5g_source* source, const Arrays& expected) {
  const std::vector<int32_t> target = ids(expected, "target");
  std::vector<float> logits(expected.at("logits").size());
  T5G_CHECK(t5g_logits(model, source, target.data(), target.size(), nullptr, logits.data(), logits.size()) == T5G_OK);
  T5G_CHECK(relative_error(logits, expected.at("logits")) < kTolerance);
  return hash(logits);
}

void check_greedy(t5g_model* model, const Arrays& expected) {
  for (int i = 0; expected.contains("source_" + std::to_string(i)); ++i) {
    t5g_source* source = encode(model, ids(expected, "source_" + std::to_string(i)));
    t5g_generate_options options;
    T5G_CHECK(t5g_generate_options_init(model, &options, sizeof options) == T5G_OK);
    options.max_new_tokens = 24;
    t5g_result* result = nullptr;
    T5G_CHECK(t5g_generate(model, source, &options, &result) == T5G_OK);
    t5g_sequence sequence{};
    sequence.struct_size = sizeof sequence;
    T5G_CHECK(t5g_result_get_sequence(result, 0, &sequence) == T5G_OK);
    // Which of them end with the token that ends a text is told apart by the finish reason.
    std::vector<int32_t> tokens = ids(expected, "greedy_" + std::to_string(i));
    if (sequence.finish_reason == T5G_FINISH_STOP && sequence.n_token_ids < tokens.size()) tokens.pop_back();
    T5G_CHECK(std::ranges::equal(std::span(sequence.token_ids, sequence.n_token_ids), tokens));
    t5g_result_free(result);
    t5g_source_free(source);
  }
}

}  // namespace

int main(int argc, char** argv) {
  T5G_CHECK(argc > 2 && argc % 2 == 1);
  for (int i = 1; i < argc; i += 2) {
    const Arrays expected = read(argv[i + 1]);
    t5g_model_options options;
    T5G_CHECK(t5g_model_options_init(&options, sizeof options) == T5G_OK);
    options.encoder_window = T5G_WINDOW_INCLUSIVE;  // of the transformers that made the goldens
    t5g_model* model = nullptr;
    if (t5g_model_open(argv[i], &options, &model) != T5G_OK) std::fprintf(stderr, "%s\n", t5g_message());
    T5G_CHECK(model != nullptr);
    t5g_source* source = encode(model, ids(expected, "source_0"));
    check_hidden_states(source, expected);
    const uint64_t bits = check_logits(model, source, expected);
    check_greedy(model, expected);
    std::printf("logits of model %d: %016llx\n", (i + 1) / 2, static_cast<unsigned long long>(bits));
    t5g_source_free(source);
    t5g_model_free(model);
  }
}
