// Whatever bytes there are: opening them as a GGUF file and reading all that it offers ends well or in a
// ModelFormatError. Built as a libFuzzer target where T5G_FUZZ is on; else it replays files: fuzz_gguf
// FILE_OR_FOLDER...
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "checks.h"
#include "gguf/reader.h"

namespace {

using t5g::GgufFile;

// Any answer will do but a crash; an error must be one line of text.
template <class F>
void attempt(F&& f) {
  try {
    f();
  } catch (const t5g::ModelFormatError& e) {
    const std::string message = e.what();
    T5G_CHECK(t5g::is_utf8(message) && message.find('\n') == std::string::npos);
  }
}

void read_key(const GgufFile& file, std::string_view key) {
  T5G_CHECK(file.has_key(key));
  attempt([&] { file.get_u32(key); });
  attempt([&] { file.get_i32(key); });
  attempt([&] { file.get_f32(key); });
  attempt([&] { file.get_bool(key); });
  attempt([&] { file.get_string(key); });
  attempt([&] { file.get_u32_array(key); });
  attempt([&] { file.get_i32_array(key); });
  attempt([&] { file.get_f32_array(key); });
  attempt([&] { file.get_bool_array(key); });
  attempt([&] {
    size_t total = 0;
    for (const std::string_view text : file.get_string_array(key)) total += t5g::is_utf8(text) ? 1 : text.size();
    T5G_CHECK(total <= file.size_bytes());
  });
}

void read_tensor(const GgufFile& file, const t5g::TensorInfo& tensor) {
  attempt([&] {
    const t5g::TensorInfo& found = file.tensor(tensor.name, tensor.shape);
    T5G_CHECK(&found == &tensor && tensor.supported);
    T5G_CHECK(tensor.size_bytes == static_cast<size_t>(tensor.rows()) * t5g::row_bytes(tensor.type, tensor.cols()));
    T5G_CHECK(tensor.offset % file.alignment() == 0);
    uint8_t sum = 0;  // every byte is there
    for (const std::byte byte : file.in_memory(tensor))
      sum = static_cast<uint8_t>(sum + std::to_integer<uint8_t>(byte));
    volatile uint8_t keep = sum;
    static_cast<void>(keep);
  });
  T5G_CHECK(!t5g::gguf_type_name(tensor.type_id).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attempt([&] {
    const GgufFile file({reinterpret_cast<const std::byte*>(data), size}, "fuzz.gguf");
    for (const auto& entry : file.metadata()) read_key(file, entry.key);
    for (const auto& tensor : file.tensors()) read_tensor(file, tensor);
    attempt([&] { file.get_u32("no such key"); });
    attempt([&] { file.tensor("no such tensor"); });
  });
  return 0;
}

#ifndef T5G_FUZZ
int main(int argc, char** argv) {
  std::vector<std::filesystem::path> paths;
  for (int i = 1; i < argc; ++i) {
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) paths.push_back(entry.path());
    } else {
      paths.emplace_back(argv[i]);
    }
  }
  T5G_CHECK(!paths.empty());
  for (const auto& path : paths) {
    std::ifstream stream(path, std::ios::binary);
    const std::vector<char> content{std::istreambuf_iterator<char>(stream), {}};
    // A block of its own, of just this size: a sanitizer sees every step beyond it.
    const auto exact = std::make_unique<uint8_t[]>(content.size());
    if (!content.empty()) std::memcpy(exact.get(), content.data(), content.size());
    LLVMFuzzerTestOneInput(exact.get(), content.size());
  }
  std::printf("ok: %zu files\n", paths.size());
}
#endif
