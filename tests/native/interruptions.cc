// Generation that is interrupted at every moment there is, as by Ctrl-C, and goes on.
//
//   interruptions MODEL.gguf ...
#include <memory>
#include <vector>

#include "base/error.h"
#include "checks.h"
#include "runtime/generator.h"
#include "runtime/model_handle.h"

namespace {

using namespace t5g;

struct StopAt final : Interrupt {
  explicit StopAt(int n) : left(n) {}
  bool poll() override { return left-- == 0; }
  int left;
};

// Whatever the moment of an interruption, going on afterwards gives what would have come without it.
void check_interrupted_generation(const std::shared_ptr<ModelHandle>& model) {
  GenerationConfig greedy, sampling, beams;
  sampling.temperature = 1.0;
  sampling.seed = 1;
  sampling.num_return_sequences = 3;
  beams.num_beams = 3;
  std::vector<GenerationRequest> requests(2);
  requests[0].source_ids.assign(70, 9);
  requests[0].decoder_prefix.assign(Model::kShortStep + 8, 5);  // too long to run beside another one
  requests[1].source_ids.assign(5, 7);
  for (GenerationConfig config : {greedy, sampling, beams}) {
    config.max_new_tokens = config.min_new_tokens = 4;
    Generator whole(model, requests, config, {}, 8);
    while (whole.step()) {
    }
    const std::vector<GenerationResult> expected = whole.take_results();
    bool interrupted = true;
    for (int n = 0; interrupted; n = n < 20 ? n + 1 : n * 4 / 3) {
      interrupted = false;
      Generator generator(model, requests, config, {}, 8);
      StopAt stop(n);
      for (bool more = true; more;) {
        try {
          more = generator.step(&stop);
        } catch (const Cancelled&) {
          interrupted = true;
        }
      }
      const std::vector<GenerationResult> found = generator.take_results();
      for (size_t i = 0; i < requests.size(); ++i) {
        for (size_t j = 0; j < expected[i].sequences.size(); ++j)
          T5G_CHECK(found[i].sequences[j].token_ids == expected[i].sequences[j].token_ids);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    ModelOptions options;
    options.n_threads = 2;
    check_interrupted_generation(std::make_shared<ModelHandle>(argv[i], options));
  }
}
