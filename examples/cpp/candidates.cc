// Three texts about a text, by beam search, with their log-probabilities: candidates MODEL.gguf TEXT.
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "t5g.hpp"

namespace {

void run(const char* path, const char* text) {
  using namespace t5g_example;
  const Model model = open(path);
  const Source source = encode(model.get(), text);
  t5g_generate_options options = options_for(model.get());
  options.temperature = 0;
  options.num_beams = options.num_return_sequences = 3;
  const Result result = generate(model.get(), source.get(), options);
  size_t n_sequences = 0;
  check(t5g_result_get_n_sequences(result.get(), &n_sequences));
  for (size_t i = 0; i < n_sequences; ++i) {
    double logprob = 0;
    check(t5g_result_get_logprob(result.get(), i, &logprob));
    std::printf("%8.3f  %s\n", logprob, sequence(result.get(), i).text);
  }
  if (std::fflush(stdout) != 0) throw std::runtime_error("standard output cannot be written to");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: candidates MODEL.gguf TEXT\n");
    return 2;
  }
  try {
    run(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "candidates: error: %s\n", error.what());
    return 1;
  }
}
