// A whole life of a model without Python: load, encode, generate greedily, by sampling and by beams; for the leak
// checker. And the promise that a decode step allocates nothing.
//
//   generate MODEL.gguf ...
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "allocations.h"
#include "base/error.h"
#include "checks.h"
#include "runtime/generation_job.h"
#include "runtime/generator.h"
#include "runtime/model_handle.h"

namespace {

using namespace t5g;

using Handle = std::shared_ptr<ModelHandle>;

std::vector<int32_t> source_ids(const Handle& handle, size_t i) {
  return handle->use(nullptr, [&](const Model& model, Interrupt*) {
    return model.tokenizer()->encode(std::string(10 * i, 'a') + " text");
  });
}

std::vector<GenerationResult> generate(const Handle& model, GenerationConfig config) {
  std::vector<GenerationRequest> requests(3);
  for (size_t i = 0; i < requests.size(); ++i) requests[i].source_ids = source_ids(model, i);
  config.max_new_tokens = 12;
  config.min_new_tokens = 12;
  Generator generator(model, std::move(requests), config, {{"no such text"}}, 2);
  while (generator.step()) {
  }
  return generator.take_results();
}

void check_generation(const Handle& model) {
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

void check_cancelled_generation(const Handle& model) {
  std::vector<GenerationRequest> requests(2);
  Generator generator(model, std::move(requests), {}, {}, 1);
  T5G_CHECK(generator.step());
  generator.cancel();
  T5G_CHECK(!generator.step());
  for (const GenerationResult& result : generator.take_results())
    T5G_CHECK(result.sequences.front().finish_reason == FinishReason::kCancelled);
}

// Requests that come while others run get what they would get alone.
void check_added_requests(const Handle& model) {
  const std::vector<GenerationResult> expected = generate(model, {});
  GenerationConfig config;
  config.max_new_tokens = config.min_new_tokens = 12;
  Generator generator(model, {}, config, {{"no such text"}}, 2);
  std::vector<FinishedGeneration> found;
  for (size_t i = 0; i < expected.size(); ++i) {
    T5G_CHECK(generator.has_room() == (i < 2));
    GenerationRequest request;
    request.source_ids = source_ids(model, i);
    T5G_CHECK(generator.add(std::move(request)) == i);
    generator.step();
  }
  bool more = true;
  while (more) {
    more = generator.step();
    for (FinishedGeneration& finished : generator.take_finished()) found.push_back(std::move(finished));
  }
  T5G_CHECK(found.size() == expected.size());
  for (const auto& [number, result, error] : found)
    T5G_CHECK(result.sequences.front().token_ids == expected[number].sequences.front().token_ids);
  T5G_CHECK(generator.has_room() && generator.take_results().empty());
}

// What a model keeps of a source, and for how long.
void check_kept_sources(Model& model) {
  std::weak_ptr<const SourceCache> gone;
  {
    const auto source = model.encode(std::vector<int32_t>(70, 5));
    const auto kept = model.project_and_keep(*source);
    T5G_CHECK(model.project_and_keep(*source) == kept);
    T5G_CHECK(model.project(*source, {}) != kept);
    gone = kept;
  }
  T5G_CHECK(gone.expired());

  const Backend backend = make_backend("cpu", 1);
  const std::shared_ptr<KvPool> pool =
      backend.ops->make_kv_pool({.type = DataType::kF32, .n_kv_heads = 1, .head_dim = 4}, 1);
  const auto store = std::make_shared<SourceCacheStore>(3 * pool->page_bytes() - 1);  // entries have one page or four
  std::vector<std::unique_ptr<EncodedSource>> sources;
  const auto add = [&](int64_t n_pages) {
    StateRows state(DataType::kF32, 1, 1, std::make_shared<Buffer>(64));
    sources.push_back(std::make_unique<EncodedSource>(std::vector<int32_t>(1), std::move(state), SourceOrigin{}));
    store->insert(*sources.back(), std::make_shared<SourceCache>(pool, n_pages * kKvChunk));
  };
  for (int i = 0; i < 2; ++i) add(1);
  T5G_CHECK(store->find(*sources[0]) != nullptr);  // and with that used after the other one
  add(1);
  T5G_CHECK(store->find(*sources[0]) != nullptr && store->find(*sources[1]) == nullptr);
  add(4);
  T5G_CHECK(store->find(*sources[3]) != nullptr && store->find(*sources[0]) == nullptr);
  sources.pop_back();
  for (int i = 0; i < 2; ++i) add(1);  // its place is free again
  T5G_CHECK(store->find(*sources[3]) != nullptr && store->find(*sources[4]) != nullptr);
}

// A step that fails leaves a cache with the pages it had, those that it shares with another one too.
void check_undone_steps(Model& model) {
  KvCache cache = model.new_cache();
  cache.reserve(10);
  cache.advance(10);
  cache.commit();
  KvCache other = cache.fork();
  const int32_t shared = other.view(0).pages[0];
  other.reserve(kKvChunk);
  T5G_CHECK(other.view(kKvChunk).pages.size() == 2 && other.view(0).pages[0] != shared);
  other.undo(10);
  T5G_CHECK(other.view(0).pages.size() == 1 && other.view(0).pages[0] == shared && other.length() == 10);
  other.reserve(1);
  T5G_CHECK(other.view(1).pages[0] != shared);  // shared as before
}

// Decode steps within one page of the cache, after a few have sized the scratch buffers: of one sequence and of three,
// for all logits and for the likeliest token.
void check_steps_allocate_nothing(Model& model) {
  constexpr int kFirst = 4, kSteps = static_cast<int>(kKvChunk) - kFirst;
  const auto source = model.encode(std::vector<int32_t>(40, 5));
  const auto projected = model.project(*source, {});
  const int32_t token = model.config().decoder_start_token_id;
  const auto eos = model.config().eos_token_ids.front();
  for (const size_t n : {1, 3}) {
    std::vector<KvCache> caches(2 * n, model.new_cache());
    std::vector<Selection> best(n), all(n);
    std::vector<float> logits(n * static_cast<size_t>(model.config().vocab_size));
    std::vector<Model::Step> plain, greedy;
    for (size_t i = 0; i < n; ++i) {
      best[i].ids = {eos};
      best[i].n_best = 1;
      best[i].keep_hidden = true;
      all[i].all = std::span(logits).subspan(i * logits.size() / n, logits.size() / n);
      plain.push_back({projected.get(), &caches[i], {&token, 1}, std::span(all).subspan(i, 1)});
      greedy.push_back({projected.get(), &caches[n + i], {&token, 1}, std::span(best).subspan(i, 1)});
    }
    check_allocates_nothing(kFirst, kSteps, [&] { model.decode(plain); });
    check_allocates_nothing(kFirst, kSteps, [&] { model.decode(greedy); });
  }
}

// A step that bans the tokens with this parity: of no use but to be new.
template <int32_t kParity>
constexpr sampling::Processor kBan = {
    [](const GenerationConfig&) { return true; },
    [](const sampling::SequenceState&, std::vector<int32_t>& tokens) {
      for (int32_t id = kParity; id < 10'000; id += 2) tokens.push_back(id);
    },
    [](const sampling::SequenceState&, const sampling::LogitRow& row, std::vector<sampling::ReplacedLogit>&) {
      for (int32_t id = kParity; id < 10'000; id += 2) {
        if (float* logit = row.find(id)) *logit = -std::numeric_limits<float>::infinity();
      }
    }};
// One that changes what it has not announced.
constexpr sampling::Processor kSilent = {kBan<0>.is_used, [](const sampling::SequenceState&, std::vector<int32_t>&) {},
                                         kBan<0>.apply};

std::vector<int32_t> write_greedily(const Handle& handle, Model& model, std::span<const sampling::Processor> more) {
  const auto source = model.encode(std::vector<int32_t>(5, 7));
  GenerationConfig config;
  config.max_new_tokens = 10;
  const TextOptions text{};
  const auto job = make_sequences_job({.handle = handle,
                                       .model = model,
                                       .source_ids = source->ids(),
                                       .source = model.project(*source, {}),
                                       .prompt_ids = {model.config().decoder_start_token_id},
                                       .config = config,
                                       .text = text,
                                       .seed = 0,
                                       .more_processors = more});
  while (!job->done()) {
    std::vector<Model::Step> steps;
    job->add_steps(steps, 0, {});
    job->think();
    job->ask();
    model.decode(steps);
    job->take();
  }
  return job->finish().front().token_ids;
}

// Greedy decoding looks at few logits only: those that a new processor touches are among them.
void check_greedy_obeys_a_new_processor(const Handle& handle) {
  const auto write = [&](const sampling::Processor& more) {
    return handle->use(nullptr, [&](Model& model, Interrupt*) { return write_greedily(handle, model, {&more, 1}); });
  };
  const auto has_parity = [](int32_t parity) { return [parity](int32_t id) { return id % 2 == parity; }; };
  const std::vector<int32_t> even = write(kBan<1>), odd = write(kBan<0>);
  T5G_CHECK(std::ranges::all_of(even, has_parity(0)) && std::ranges::all_of(odd, has_parity(1)));
  bool refused = false;
  try {
    write(kSilent);
  } catch (const Error&) {
    refused = true;
  }
  T5G_CHECK(refused);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    ModelOptions options;
    options.n_threads = 2;
    const auto handle = std::make_shared<ModelHandle>(argv[i], options);
    handle->use(nullptr, [](Model& model, Interrupt*) {
      check_steps_allocate_nothing(model);
      check_kept_sources(model);
      check_undone_steps(model);
    });
    check_greedy_obeys_a_new_processor(handle);
    check_generation(handle);
    check_cancelled_generation(handle);
    check_added_requests(handle);
  }
}
