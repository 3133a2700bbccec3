// A whole life of a model without Python: load, encode, generate greedily, by sampling and by beams, score; for the
// leak checker and the thread sanitizer. And the promise that a decode step allocates nothing.
//
//   generate MODEL.gguf ...
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "checks.h"
#include "runtime/generator.h"
#include "runtime/model.h"

namespace {

std::atomic<int64_t> n_allocations{0};

}  // namespace

// Every allocation of the program is counted; sanitizers see those of malloc below.
void* operator new(size_t size) {
  n_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* data = std::malloc(size)) return data;
  throw std::bad_alloc();
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, size_t) noexcept { std::free(data); }

namespace {

using namespace t5g;

std::vector<GenerationResult> generate(const std::shared_ptr<Model>& model, GenerationConfig config) {
  std::vector<GenerationRequest> requests(3);
  for (size_t i = 0; i < requests.size(); ++i)
    requests[i].source_ids = model->tokenizer().encode(std::string(10 * i, 'a') + " text");
  config.max_new_tokens = 12;
  config.min_new_tokens = 12;
  Generator generator(model, std::move(requests), config, {"no such text"}, 2);
  while (generator.step()) generator.take_text();
  return generator.take_results();
}

void check_generation(const std::shared_ptr<Model>& model) {
  GenerationConfig greedy, sampling, beams;
  sampling.temperature = 1.0;
  sampling.seed = 1;
  sampling.num_return_sequences = 2;
  beams.num_beams = 3;
  for (const GenerationConfig& config : {greedy, sampling, beams}) {
    const std::vector<GenerationResult> results = generate(model, config);
    T5G_CHECK(results.size() == 3);
    for (const GenerationResult& result : results) T5G_CHECK(result.sequences.front().token_ids.size() == 12);
  }
}

void check_cancelled_generation(const std::shared_ptr<Model>& model) {
  std::vector<GenerationRequest> requests(2);
  Generator generator(model, std::move(requests), {}, {}, 1);
  T5G_CHECK(generator.step());
  generator.cancel();
  T5G_CHECK(!generator.step());
  for (const GenerationResult& result : generator.take_results())
    T5G_CHECK(result.sequences.front().finish_reason == FinishReason::kCancelled);
}

void check_threads(const std::shared_ptr<Model>& model) {
  const std::vector<GenerationResult> expected = generate(model, {});
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      const std::vector<GenerationResult> found = generate(model, {});
      for (size_t j = 0; j < found.size(); ++j)
        T5G_CHECK(found[j].sequences.front().token_ids == expected[j].sequences.front().token_ids);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// What a model keeps of a source, and for how long.
void check_kept_sources(Model& model) {
  std::weak_ptr<const SourceCache> gone;
  {
    const auto source = model.encode(std::vector<int32_t>(70, 5));
    const auto kept = model.project_and_keep(*source);
    T5G_CHECK(model.project_and_keep(*source) == kept);
    T5G_CHECK(model.project(*source) != kept);
    gone = kept;
  }
  T5G_CHECK(gone.expired());

  const auto store = std::make_shared<SourceCacheStore>(3000);  // bytes; each entry has 1024 or 4096
  std::vector<std::unique_ptr<EncodedSource>> sources;
  const auto add = [&](int64_t layer_bytes) {
    sources.push_back(std::make_unique<EncodedSource>(std::vector<int32_t>(1), Buffer(64), 1, SourceOrigin{}));
    store->insert(*sources.back(), std::make_shared<SourceCache>(1, layer_bytes, 1));
  };
  for (int i = 0; i < 2; ++i) add(1024);
  T5G_CHECK(store->find(*sources[0]) != nullptr);  // and with that used after the other one
  add(1024);
  T5G_CHECK(store->find(*sources[0]) != nullptr && store->find(*sources[1]) == nullptr);
  add(4096);
  T5G_CHECK(store->find(*sources[3]) != nullptr && store->find(*sources[0]) == nullptr);
  sources.pop_back();
  for (int i = 0; i < 2; ++i) add(1024);  // its place is free again
  T5G_CHECK(store->find(*sources[3]) != nullptr && store->find(*sources[4]) != nullptr);
}

// Decode steps within one page of the cache, after a first one has sized the scratch buffers.
void check_steps_allocate_nothing(Model& model) {
  const auto source = model.encode(std::vector<int32_t>(40, 5));
  const auto projected = model.project(*source);
  std::vector<float> logits(static_cast<size_t>(model.config().vocab_size));
  const Tensor row{logits.data(), 1, model.config().vocab_size};
  KvCache cache = model.new_cache();
  const int32_t token = model.config().decoder_start_token_id;
  const Model::Step step{projected.get(), &cache, {&token, 1}};
  for (int i = 0; i < 4; ++i) model.decode({&step, 1}, row);
  const int64_t before = n_allocations.load();
  for (int i = 4; i < static_cast<int>(kKvChunk); ++i) model.decode({&step, 1}, row);
  T5G_CHECK(n_allocations.load() == before);

  KvCache greedy_cache = model.new_cache();
  Model::BestToken best;
  const Model::Step greedy{projected.get(), &greedy_cache, {&token, 1}, {&best, 1}};
  for (int i = 0; i < 4; ++i) model.decode({&greedy, 1}, {});
  const int64_t before_greedy = n_allocations.load();
  for (int i = 4; i < static_cast<int>(kKvChunk); ++i) model.decode({&greedy, 1}, {});
  T5G_CHECK(n_allocations.load() == before_greedy);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    ModelOptions options;
    options.n_threads = 2;
    const auto model = std::make_shared<Model>(argv[i], options);
    check_steps_allocate_nothing(*model);
    check_kept_sources(*model);
    check_generation(model);
    check_cancelled_generation(model);
    check_threads(model);
  }
}
