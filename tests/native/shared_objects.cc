// Every object that Python can reach from two threads, used by several at once and closed under their hands; for the
// thread sanitizer to watch.
//
//   shared_objects MODEL.gguf ...
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "checks.h"
#include "runtime/generator.h"
#include "runtime/kept_logprob.h"
#include "runtime/model_handle.h"

namespace {

using namespace t5g;
using Handle = std::shared_ptr<ModelHandle>;
using Source = std::shared_ptr<const EncodedSource>;

Handle open(const std::string& path, const std::string& kv_type = "f32") {
  ModelOptions options;
  options.n_threads = 2;
  options.kv_type = kv_type;
  return std::make_shared<ModelHandle>(path, options);
}

// Runs all of it at once.
void together(const std::vector<std::function<void()>>& work) {
  std::vector<std::thread> threads;
  for (const auto& part : work) threads.emplace_back(part);
  for (std::thread& thread : threads) thread.join();
}

void pause(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

Source encode(const Handle& handle, std::vector<int32_t> ids) {
  return handle->use(nullptr, [&](Model& model, Interrupt* stop) { return model.encode(std::move(ids), {}, stop); });
}

std::vector<GenerationConfig> all_kinds(int n_tokens) {
  std::vector<GenerationConfig> kinds(3);
  kinds[1].temperature = 1.0;
  kinds[1].seed = 1;
  kinds[1].num_return_sequences = 2;
  kinds[2].num_beams = 3;
  for (GenerationConfig& config : kinds) config.max_new_tokens = config.min_new_tokens = n_tokens;
  return kinds;
}

std::unique_ptr<Generator> generator(const Handle& handle, const GenerationConfig& config, const Source& source) {
  std::vector<GenerationRequest> requests(2);
  requests[0].source = source;
  requests[1].source_ids = {5, 6, 7};
  return std::make_unique<Generator>(handle, std::move(requests), config, TextOptions{}, 8);
}

void read_all(Generator& generator, std::atomic<size_t>& n_bytes) {
  while (const auto text = generator.next_text()) n_bytes += text->size();
}

void threads_take_turns(const Handle& handle, const Source& source) {
  for (const GenerationConfig& config : all_kinds(20)) {
    const auto alone = generator(handle, config, source);
    while (alone->step()) {
    }
    const auto shared = generator(handle, config, source);
    std::atomic<size_t> n_bytes{0};
    const auto read = [&] { read_all(*shared, n_bytes); };
    const auto look = [&] {
      while (!shared->results()) std::this_thread::yield();
    };
    together({read, read, read, look});
    const auto expected = *alone->results(), found = *shared->results();
    T5G_CHECK(found[0].sequences[0].token_ids == expected[0].sequences[0].token_ids);
    T5G_CHECK(n_bytes == expected[0].sequences[0].text.size());
  }
}

void others_may_stop_it(const Handle& handle, const Source& source) {
  for (const GenerationConfig& config : all_kinds(1000)) {
    for (int ms = 0; ms < 6; ms += 2) {
      for (const bool close : {true, false}) {
        const auto shared = generator(handle, config, source);
        std::atomic<size_t> n_bytes{0};
        const auto read = [&] { read_all(*shared, n_bytes); };
        const auto stop = [&] {
          pause(ms);
          close ? shared->close() : shared->cancel();
        };
        together({read, read, stop});
        T5G_CHECK(shared->results().has_value() && !shared->next_text());
      }
    }
  }
}

// A batch that one thread runs, another feeds, and a third empties.
void requests_come_and_go(const Handle& handle) {
  Generator shared(handle, {}, all_kinds(8)[0], TextOptions{}, 3);
  constexpr size_t kRequests = 20;
  std::atomic<size_t> n_found{0};
  const auto feed = [&] {
    for (size_t i = 0; i < kRequests; ++i) {
      while (!shared.has_room()) std::this_thread::yield();
      GenerationRequest request;
      request.source_ids.assign(i + 1, 5);
      shared.add(std::move(request));
    }
  };
  const auto run = [&] {
    while (n_found < kRequests) shared.step();
  };
  const auto take = [&] {
    while (n_found < kRequests) n_found += shared.take_finished().size();
  };
  together({feed, run, take});
}

// A stop while another one's interrupt waits for its turn.
void waiting_for_a_turn_can_be_cancelled(const Handle& handle, const Source& source) {
  struct Stop final : Interrupt {
    bool poll() override { return true; }
  };
  const auto shared = generator(handle, all_kinds(1000)[0], source);
  std::atomic<size_t> n_bytes{0};
  together({[&] { read_all(*shared, n_bytes); },
            [&] {
              for (int i = 0; i < 5; ++i) {
                Stop stop;
                try {
                  shared->next_text(&stop);
                } catch (const Cancelled&) {
                  pause(1);
                }
              }
              shared->close();
            }});
}

void models_share_sources(const std::string& path) {
  const Handle first = open(path, "f32"), second = open(path, "q8_0");
  std::vector<Source> sources;
  for (int i = 0; i < 6; ++i) sources.push_back(encode(first, std::vector<int32_t>(static_cast<size_t>(40 + i), 5)));
  std::mutex mutex;  // of the list alone: whoever takes the last reference destroys the source
  const auto use = [&](const Handle& handle) {
    for (int i = 0; i < 40; ++i) {
      Source source;
      {
        const std::lock_guard lock(mutex);
        if (sources.empty()) return;
        source = i % 8 == 7 ? std::move(sources.back()) : sources[static_cast<size_t>(i) % sources.size()];
        if (i % 8 == 7) sources.pop_back();
      }
      try {
        handle->use(nullptr, [&](Model& model, Interrupt* stop) { model.project_and_keep(*source, stop); });
      } catch (const ModelClosed&) {
        // of the second one; its sources may go at the same moment
      }
    }
  };
  const auto close = [&] {
    pause(1);
    second->close();
  };
  together({[&] { use(first); }, [&] { use(second); }, [&] { use(first); }, [&] { use(second); }, close});
}

void sums_are_computed_once(const Handle& handle) {
  const auto kept = handle->use(nullptr, [&](Model& model, Interrupt*) {
    auto made = std::make_shared<KeptLogprob>(handle, model);
    Selection token;
    token.hidden.assign(static_cast<size_t>(model.config().decoder.hidden_size), 0.5f);
    for (int i = 0; i < 100; ++i) made->add(token, 1.0f);
    made->end();
    return made;
  });
  double sums[3] = {};
  together({[&] { sums[0] = kept->sum(); }, [&] { sums[1] = kept->sum(); }, [&] { sums[2] = kept->sum(); }});
  T5G_CHECK(sums[0] < 0 && sums[0] == sums[1] && sums[0] == sums[2]);
}

void tokenizers_are_shared(const Handle& handle) {
  const auto tokenizer = handle->use(nullptr, [](const Model& model, Interrupt*) { return model.tokenizer(); });
  const auto ids = tokenizer->encode("some text");
  const auto use = [&] {
    for (int i = 0; i < 20; ++i) T5G_CHECK(tokenizer->encode("some text") == ids && !tokenizer->decode(ids).empty());
  };
  together({use, use});
}

// Calls of every kind until the model is closed.
void closing_ends_all(const std::string& path) {
  for (int ms = 0; ms < 8; ++ms) {
    const Handle handle = open(path);
    const Source source = encode(handle, std::vector<int32_t>(60, 5));
    const auto until_closed = [](auto body) {
      return [body] {
        try {
          while (true) body();
        } catch (const ModelClosed&) {
        }
      };
    };
    const auto stream = generator(handle, all_kinds(1000)[1], source);
    const auto generate = [&] {
      for (const GenerationConfig& config : all_kinds(20)) {
        const auto own = generator(handle, config, source);
        while (own->step()) {
        }
      }
    };
    together({until_closed([&] { encode(handle, std::vector<int32_t>(60, 6)); }), until_closed(generate),
              until_closed([&] {
                stream->next_text();
                if (stream->results().has_value()) generate();
              }),
              [&] {
                pause(ms);
                handle->close();
              },
              [&] {
                pause(ms);
                handle->close();
              }});
    stream->close();
    T5G_CHECK(stream->results().has_value());
    T5G_CHECK(source->ids().size() == 60 && source->hidden_states().rows() == 60);
  }
}

// What a stream holds on the device goes with the model, though nobody touches the stream.
void streams_let_go(const std::string& path) {
  for (const GenerationConfig& config : all_kinds(20)) {
    const Handle handle = open(path);
    const auto stream = generator(handle, config, encode(handle, {5, 6, 7}));
    stream->step();
    handle->close();
    T5G_CHECK(stream->results().has_value());
    const size_t n_tokens = stream->results()->front().sequences.front().token_ids.size();
    T5G_CHECK(n_tokens < 20);
    bool told = false;
    try {
      while (stream->step()) {
      }
    } catch (const ModelClosed&) {
      told = true;
    }
    T5G_CHECK(told && !stream->step());
  }
}

// A signal handler or callback runs in the midst of a call of its own thread.
void calls_within_a_call_are_refused_not_awaited(const std::string& path) {
  struct Handler final : Interrupt {
    explicit Handler(std::function<void()> f) : call(std::move(f)) {}
    bool poll() override {
      if (n_polls++ == 3) call();
      return false;
    }
    std::function<void()> call;
    int n_polls = 0;
  };
  const Handle handle = open(path);
  const Source source = encode(handle, {5, 6, 7});
  const auto refused = [&](const std::function<void()>& call) {
    bool caught = false;
    Handler handler([&] {
      try {
        call();
      } catch (const InvalidArgument&) {
        caught = true;
      }
    });
    const auto outer = generator(handle, all_kinds(20)[0], source);
    while (outer->step(&handler)) {
    }
    return caught;
  };
  T5G_CHECK(refused([&] { encode(handle, {5}); }));
  std::unique_ptr<Generator> stream = generator(handle, all_kinds(20)[0], source);
  Handler next([&] {
    bool caught = false;
    try {
      stream->next_text();
    } catch (const InvalidArgument&) {
      caught = true;
    }
    T5G_CHECK(caught);
    stream->close();  // stops it, and waits for nobody
  });
  while (stream->step(&next)) {
  }
  T5G_CHECK(next.n_polls > 3 && stream->results().has_value());
  stream = generator(handle, all_kinds(20)[0], source);
  Handler close([&] { handle->close(); });
  bool caught = false;
  try {
    while (stream->step(&close)) {
    }
  } catch (const ModelClosed&) {
    caught = true;
  }
  T5G_CHECK(caught);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const Handle handle = open(argv[i]);
    const Source source = encode(handle, std::vector<int32_t>(70, 5));
    threads_take_turns(handle, source);
    others_may_stop_it(handle, source);
    requests_come_and_go(handle);
    waiting_for_a_turn_can_be_cancelled(handle, source);
    sums_are_computed_once(handle);
    tokenizers_are_shared(handle);
    models_share_sources(argv[i]);
    closing_ends_all(argv[i]);
    streams_let_go(argv[i]);
    calls_within_a_call_are_refused_not_awaited(argv[i]);
  }
}
