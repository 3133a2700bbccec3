// Summarises the texts of a folder, each into a file beside it: summarise_folder MODEL.gguf FOLDER [SUFFIX ...].
//
// NAME.txt becomes NAME.summary.txt, whole or not at all. NAME.md beside it would too: neither is done then. A file
// that has one is done, unless it was written to since: so the program can be stopped at any moment (Ctrl-C) and
// started again. Nothing leaves the machine.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cpp/t5g.hpp"

namespace {

namespace fs = std::filesystem;
using namespace t5g_example;

constexpr char kEnding[] = ".summary.txt";

t5g_cancel* interrupted = nullptr;
volatile std::sig_atomic_t n_interrupts = 0;

void on_interrupt(int) {
  n_interrupts = n_interrupts + 1;
  t5g_cancel_request(interrupted);
}

// A path as UTF-8, which file names are on no system but all.
std::string utf8(const fs::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

fs::path summary_of(fs::path path) {
  path.replace_extension();
  path += kEnding;
  return path;
}

bool is_done(const fs::path& path) {
  const fs::path summary = summary_of(path);
  return fs::exists(summary) && fs::last_write_time(summary) >= fs::last_write_time(path);
}

std::vector<fs::path> texts_in(const fs::path& folder, const std::vector<std::string>& suffixes) {
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file() || utf8(entry.path()).ends_with(kEnding)) continue;
    for (const std::string& suffix : suffixes) {
      if (entry.path().extension() == suffix) found.push_back(entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw std::runtime_error("cannot be read.");
  return text;
}

void write(const fs::path& path, const std::string& text) {
  fs::path temporary = path;
  temporary += ".tmp";
  {
    std::ofstream file(temporary, std::ios::binary);
    file << text << '\n';
    if (!file.flush()) throw std::runtime_error("its summary cannot be written.");
  }
  fs::rename(temporary, path);
}

// False when it was interrupted.
bool summarise(t5g_model* model, const fs::path& path) {
  const Source source = encode(model, read(path), interrupted);
  t5g_generate_options options = options_for(model);
  options.cancel = interrupted;
  const Result result = generate(model, source.get(), options);
  if (sequence(result.get()).finish_reason == T5G_FINISH_CANCELLED) return false;
  write(summary_of(path), text(result.get()));
  return true;
}

// The exit status: 1 where a file failed, 130 after Ctrl-C.
int run(const std::string& model_path, const fs::path& folder, const std::vector<std::string>& suffixes) {
  const Model model = open(model_path);
  int status = 0;
  const std::vector<fs::path> paths = texts_in(folder, suffixes);
  std::map<fs::path, int> n_texts;  // by the summary that they would get
  for (const fs::path& path : paths) ++n_texts[summary_of(path)];
  for (const fs::path& path : paths) {
    const std::string name = utf8(path.filename());
    try {
      if (n_texts[summary_of(path)] > 1)
        throw std::runtime_error("another text has the same summary, " + utf8(summary_of(path).filename()) +
                                 ". Rename one of them.");
      if (is_done(path)) {
        std::printf("%s: done before\n", name.c_str());
        continue;
      }
      if (!summarise(model.get(), path)) return 130;
      std::printf("%s: done\n", name.c_str());
    } catch (const std::exception& error) {
      if (n_interrupts > 0) return 130;
      std::fprintf(stderr, "summarise_folder: %s: %s\n", name.c_str(), error.what());
      status = 1;
    }
    std::fflush(stdout);
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr,
                 "usage: summarise_folder MODEL.gguf FOLDER [SUFFIX ...]    (.txt and .md where none is given)\n");
    return 2;
  }
  std::vector<std::string> suffixes(argv + 3, argv + argc);
  if (suffixes.empty()) suffixes = {".txt", ".md"};
  try {
    check(t5g_cancel_new(&interrupted));
    const Cancel owner(interrupted);
    std::signal(SIGINT, on_interrupt);
    const int status = run(argv[1], argv[2], suffixes);
    std::signal(SIGINT, SIG_DFL);
    return status;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "summarise_folder: error: %s\n", error.what());
    return 1;
  }
}
