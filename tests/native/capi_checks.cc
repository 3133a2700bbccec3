// libt5g as a C++ program meets it: callbacks that throw, many rounds that leave memory flat, threads on one model.
// Usage: capi_checks MODEL.gguf [ROUNDS]
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "capi/guard.h"
#include "capi/t5g.h"
#include "checks.h"

namespace {

constexpr char kText[] = "the quick brown fox jumps over the lazy dog";

t5g_model* open(const char* path, int32_t n_threads) {
  t5g_model_options options;
  T5G_CHECK(t5g_model_options_init(&options, sizeof options) == T5G_OK);
  options.n_threads = n_threads;
  t5g_model* model = nullptr;
  T5G_CHECK(t5g_model_open(path, &options, &model) == T5G_OK);
  return model;
}

t5g_source* encode(t5g_model* model) {
  t5g_source* source = nullptr;
  T5G_CHECK(t5g_encode_text(model, kText, T5G_TO_ZERO, nullptr, &source) == T5G_OK);
  return source;
}

std::vector<int32_t> generated(t5g_model* model, const t5g_source* source) {
  t5g_generate_options options;
  T5G_CHECK(t5g_generate_options_init(model, &options, sizeof options) == T5G_OK);
  options.max_new_tokens = 12;
  t5g_result* result = nullptr;
  T5G_CHECK(t5g_generate(model, source, &options, &result) == T5G_OK);
  t5g_sequence sequence{};
  sequence.struct_size = sizeof sequence;
  T5G_CHECK(t5g_result_get_sequence(result, 0, &sequence) == T5G_OK);
  T5G_CHECK(std::strlen(sequence.text) == sequence.text_size);
  std::vector<int32_t> ids(sequence.token_ids, sequence.token_ids + sequence.n_token_ids);
  double logprob = 0;
  T5G_CHECK(t5g_result_get_logprob(result, 0, &logprob) == T5G_OK && logprob < 0);
  t5g_result_free(result);
  return ids;
}

void check_callbacks_that_throw(t5g_model* model, const t5g_source* source) {
  t5g_generate_options options;
  T5G_CHECK(t5g_generate_options_init(model, &options, sizeof options) == T5G_OK);
  options.on_text = [](void*, size_t, const char*, size_t) -> int32_t { throw 42; };
  t5g_result* result = nullptr;
  T5G_CHECK(t5g_generate(model, source, &options, &result) == T5G_ERROR && result == nullptr);
  T5G_CHECK(std::string(t5g_message()).find("callback") != std::string::npos);
  options.on_text = [](void*, size_t, const char*, size_t) -> int32_t { throw std::runtime_error("mine"); };
  T5G_CHECK(t5g_generate(model, source, &options, &result) == T5G_ERROR && std::string(t5g_message()) == "mine");
  T5G_CHECK(!generated(model, source).empty());  // and the model is as before
}

// Statuses of what a device and the memory do, which tests cannot bring about on every machine.
void check_statuses() {
  using t5g::capi::guarded;
  T5G_CHECK(guarded([] { throw t5g::DeviceError("cuda:0: lost."); }) == T5G_DEVICE_ERROR);
  T5G_CHECK(std::string(t5g_message()) == "cuda:0: lost.");
  T5G_CHECK(guarded([] { throw std::bad_alloc(); }) == T5G_OUT_OF_MEMORY);
  T5G_CHECK(guarded([] { throw t5g::IoError("x", "reserving memory", 12); }) == T5G_OUT_OF_MEMORY);
  T5G_CHECK(guarded([] { throw t5g::OutOfMemory("no."); }) == T5G_OUT_OF_MEMORY);
}

// A model that calls made inside a callback may use is another one; the same one is refused instead of waiting forever.
void check_calls_inside_callbacks(const char* path, t5g_model* model, const t5g_source* source) {
  struct State {
    t5g_model *same, *other;
    t5g_status of_same, of_other;
  } state{model, open(path, 1), T5G_OK, T5G_ERROR};
  t5g_generate_options options;
  T5G_CHECK(t5g_generate_options_init(model, &options, sizeof options) == T5G_OK);
  options.max_new_tokens = 8;
  options.user_data = &state;
  options.on_text = [](void* data, size_t, const char*, size_t) -> int32_t {
    auto& it = *static_cast<State*>(data);
    t5g_source* made = nullptr;
    it.of_other = t5g_encode_text(it.other, "a", 1, nullptr, &made);
    t5g_source_free(made);
    made = nullptr;
    it.of_same = t5g_encode_text(it.same, "a", 1, nullptr, &made);
    t5g_source_free(made);
    return 0;
  };
  t5g_result* result = nullptr;
  T5G_CHECK(t5g_generate(model, source, &options, &result) == T5G_OK);
  T5G_CHECK(state.of_other == T5G_OK);
  T5G_CHECK(state.of_same == T5G_OK || state.of_same == T5G_INVALID_ARGUMENT);
  t5g_result_free(result);
  t5g_model_free(state.other);
}

// Of a copy in memory, which goes with the model.
t5g_model* open_copy(const std::vector<char>& file) {
  t5g_model_options options;
  T5G_CHECK(t5g_model_options_init(&options, sizeof options) == T5G_OK);
  options.load = T5G_LOAD_COPY;
  options.n_threads = 1;
  t5g_model* model = nullptr;
  T5G_CHECK(t5g_model_open_memory(file.data(), file.size(), nullptr, &options, &model) == T5G_OK);
  return model;
}

std::vector<char> content_of(const char* path) {
  std::vector<char> content;
  std::FILE* file = std::fopen(path, "rb");
  T5G_CHECK(file != nullptr);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) content.push_back(static_cast<char>(c));
  std::fclose(file);
  return content;
}

// A callback that frees the model has ended the call that it is in.
void check_freeing_inside_callbacks(const char* path) {
  const std::vector<char> file = content_of(path);
  t5g_encode_options reading;
  T5G_CHECK(t5g_encode_options_init(&reading, sizeof reading) == T5G_OK);
  t5g_model* model = open_copy(file);
  reading.user_data = &model;
  reading.on_progress = [](void* data, uint64_t, uint64_t) -> int32_t {
    t5g_model_free(std::exchange(*static_cast<t5g_model**>(data), nullptr));
    return 0;
  };
  t5g_source* source = nullptr;
  T5G_CHECK(t5g_encode_text(model, kText, T5G_TO_ZERO, &reading, &source) == T5G_CLOSED && source == nullptr);
  T5G_CHECK(model == nullptr);

  for (const bool at_the_text : {true, false}) {
    model = open_copy(file);
    source = encode(model);
    t5g_generate_options writing;
    T5G_CHECK(t5g_generate_options_init(model, &writing, sizeof writing) == T5G_OK);
    writing.user_data = &model;
    if (at_the_text) {
      writing.on_text = [](void* data, size_t, const char*, size_t) -> int32_t {
        t5g_model_free(std::exchange(*static_cast<t5g_model**>(data), nullptr));
        return 0;
      };
    } else {
      writing.allowed_tokens = [](void* data, size_t, const int32_t*, size_t, uint32_t*, size_t) -> int32_t {
        t5g_model_free(std::exchange(*static_cast<t5g_model**>(data), nullptr));
        return T5G_ALLOW_ALL;
      };
    }
    t5g_result* result = nullptr;
    const t5g_status status = t5g_generate(model, source, &writing, &result);
    T5G_CHECK(model == nullptr && (status == T5G_CLOSED || status == T5G_OK));
    t5g_result_free(result);
    t5g_source_free(source);
  }
}

void check_threads(t5g_model* model, const t5g_source* source) {
  const std::vector<int32_t> expected = generated(model, source);
  std::atomic<int> n_wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) {
        t5g_source* own = i % 2 == 0 ? encode(model) : nullptr;
        if (generated(model, own != nullptr ? own : source) != expected) n_wrong.fetch_add(1);
        if (t5g_model_open("/nowhere", nullptr, nullptr) != T5G_INVALID_ARGUMENT) n_wrong.fetch_add(1);
        float logprob = 0;
        if (t5g_score(model, source, expected.data(), 1, nullptr, &logprob) != T5G_OK) n_wrong.fetch_add(1);
        int32_t* ids = nullptr;
        size_t n_ids = 0;
        if (t5g_tokenize(model, kText, T5G_TO_ZERO, 1, 0, &ids, &n_ids) != T5G_OK) n_wrong.fetch_add(1);
        t5g_free(ids);
        t5g_source_free(own);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  T5G_CHECK(n_wrong.load() == 0);
}

// Cancelled and closed from another thread, in the middle of work.
void check_ends(const char* path) {
  t5g_cancel* cancel = nullptr;
  T5G_CHECK(t5g_cancel_new(&cancel) == T5G_OK);
  t5g_model* model = open(path, 2);
  t5g_source* source = encode(model);
  t5g_generate_options options;
  T5G_CHECK(t5g_generate_options_init(model, &options, sizeof options) == T5G_OK);
  options.min_new_tokens = options.max_new_tokens = 4000;
  options.cancel = cancel;
  std::thread canceller([&] { T5G_CHECK(t5g_cancel_request(cancel) == T5G_OK); });
  t5g_result* result = nullptr;
  T5G_CHECK(t5g_generate(model, source, &options, &result) == T5G_OK);
  canceller.join();
  t5g_sequence sequence{};
  sequence.struct_size = sizeof sequence;
  T5G_CHECK(t5g_result_get_sequence(result, 0, &sequence) == T5G_OK);
  T5G_CHECK(sequence.finish_reason == T5G_FINISH_CANCELLED);
  t5g_result_free(result);

  options.cancel = nullptr;
  std::atomic<bool> begun{false};
  options.user_data = &begun;
  options.on_progress = [](void* data, uint64_t done, uint64_t) -> int32_t {
    if (done > 0) static_cast<std::atomic<bool>*>(data)->store(true);
    return 0;
  };
  std::thread closer([&] {
    while (!begun.load()) std::this_thread::yield();
    T5G_CHECK(t5g_model_close(model) == T5G_OK);
  });
  result = nullptr;
  T5G_CHECK(t5g_generate(model, source, &options, &result) == T5G_CLOSED && result == nullptr);
  closer.join();
  t5g_source_free(source);
  t5g_model_free(model);
  t5g_cancel_free(cancel);
}

// Bytes that this process has in memory, where the system tells in Linux's way; else 0.
int64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  long all = 0, resident = 0;
  const int n = std::fscanf(file, "%ld %ld", &all, &resident);
  std::fclose(file);
  return n == 2 ? int64_t{resident} * 4096 : 0;
}

void check_rounds(const char* path, int n_rounds) {
  // The heap has found its size after some; a leak of the smallest model would be 300 KB a round.
  constexpr int kWarmUp = 20;
  constexpr int64_t kSlack = 4 << 20;  // beside what sanitizers keep, for whom a few rounds are enough
  int64_t before = 0;
  for (int round = 0; round < n_rounds; ++round) {
    if (round == std::min(kWarmUp, n_rounds / 2)) before = resident_bytes();
    t5g_model* model = open(path, 2);
    t5g_source* source = encode(model);
    generated(model, source);
    t5g_source_free(source);
    t5g_model_free(model);
  }
  const int64_t grown = resident_bytes() - before;
  std::printf("%d rounds: %+.1f MB\n", n_rounds, static_cast<double>(grown) / 1e6);
  T5G_CHECK(n_rounds <= kWarmUp || grown < kSlack);
}

}  // namespace

int main(int argc, char** argv) {
  T5G_CHECK(argc > 1);
  const int n_rounds = argc > 2 ? std::atoi(argv[2]) : 200;
  check_statuses();
  t5g_model* model = open(argv[1], 2);
  t5g_source* source = encode(model);
  check_callbacks_that_throw(model, source);
  check_calls_inside_callbacks(argv[1], model, source);
  check_freeing_inside_callbacks(argv[1]);
  check_threads(model, source);
  t5g_source_free(source);
  t5g_model_free(model);
  check_ends(argv[1]);
  check_rounds(argv[1], n_rounds);
  std::puts("ok");
}
