// The typed getters and the look-up of tensors: what they convert, and what their errors say.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "checks.h"
#include "gguf/reader.h"

namespace {

using t5g::GgufFile;
using t5g::gguf::ValueType;

// Appends the parts of a GGUF file one by one.
struct Writer {
  std::string bytes = "GGUF";

  template <class T>
  Writer& number(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& text(std::string_view value) {
    number<uint64_t>(value.size());
    bytes += value;
    return *this;
  }
  Writer& type(ValueType type) { return number(static_cast<uint32_t>(type)); }
  template <class T>
  Writer& key(std::string_view name, ValueType value_type, T value) {
    return text(name).type(value_type).number(value);
  }
  template <class T>
  Writer& array(std::string_view name, ValueType element_type, const std::vector<T>& values) {
    text(name).type(ValueType::kArray).type(element_type).template number<uint64_t>(values.size());
    for (const T value : values) number(value);
    return *this;
  }
};

constexpr uint64_t kKeys = 15, kTensors = 2;

std::string sample() {
  Writer w;
  w.number<uint32_t>(3).number(kTensors).number(kKeys);
  w.key<uint8_t>("u8", ValueType::kU8, 200).key<int64_t>("i64", ValueType::kI64, -5);
  w.key<uint64_t>("big", ValueType::kU64, uint64_t{1} << 32).key<float>("f32", ValueType::kF32, 0.5f);
  w.key<double>("f64", ValueType::kF64, 0.25).key<double>("huge", ValueType::kF64, 1e300);
  w.key<float>("nan", ValueType::kF32, std::numeric_limits<float>::quiet_NaN());
  w.key<uint8_t>("yes", ValueType::kBool, 1);
  w.text("name").type(ValueType::kString).text("x\xff");
  w.array<int16_t>("i16s", ValueType::kI16, {1, -2}).array<uint64_t>("u64s", ValueType::kU64, {1, uint64_t{1} << 40});
  w.array<double>("f64s", ValueType::kF64, {0.5, HUGE_VAL}).array<uint8_t>("bools", ValueType::kBool, {1, 0});
  w.text("texts").type(ValueType::kArray).type(ValueType::kString).number<uint64_t>(2).text("a").text("");
  w.array<uint32_t>("none", ValueType::kU32, {});
  w.text("t").number<uint32_t>(2).number<uint64_t>(3).number<uint64_t>(2).number<uint32_t>(0).number<uint64_t>(0);
  w.text("q").number<uint32_t>(1).number<uint64_t>(256).number<uint32_t>(12).number<uint64_t>(32);
  w.bytes.resize((w.bytes.size() + 31) / 32 * 32 + 64);
  return w.bytes;
}

// f throws a ModelFormatError that reads "f.gguf: <message>".
template <class F>
void fails(F&& f, const std::string& message) {
  try {
    f();
  } catch (const t5g::ModelFormatError& e) {
    if (std::string(e.what()).starts_with("f.gguf: " + message)) return;
    std::fprintf(stderr, "%s\n", e.what());
  }
  std::fprintf(stderr, "expected an error: %s\n", message.c_str());
  std::exit(1);
}

void check_scalars(const GgufFile& f) {
  T5G_CHECK(f.get_u32("u8") == 200 && f.get_i32("u8") == 200 && f.get_i32("i64") == -5);
  T5G_CHECK(f.get_f32("f32") == 0.5f && f.get_f32("f64") == 0.25f);
  T5G_CHECK(f.get_bool("yes") && f.get_string("name") == "x\xff");
  T5G_CHECK(f.find_u32("u8") == 200u && !f.find_u32("absent") && !f.find_string("absent") &&
            !f.find_f32_array("absent"));
  fails([&] { f.get_u32("absent"); }, "key 'absent': missing, expected u32");
  fails([&] { f.get_string_array("absent"); }, "key 'absent': missing, expected array of string");
  fails([&] { f.get_u32("i64"); }, "key 'i64': is -5, which does not fit, expected u32");
  fails([&] { f.find_u32("big"); }, "key 'big': is 4294967296, which does not fit, expected u32");
  fails([&] { f.get_u32("f32"); }, "key 'f32': has type f32, expected u32");
  fails([&] { f.get_f32("u8"); }, "key 'u8': has type u8, expected f32");
  fails([&] { f.get_f32("huge"); }, "key 'huge': is 1000000000");
  fails([&] { f.get_f32("nan"); }, "key 'nan': is nan, not a finite number, expected f32");
  fails([&] { f.get_bool("u8"); }, "key 'u8': has type u8, expected bool");
  fails([&] { f.get_string("yes"); }, "key 'yes': has type bool, expected string");
  fails([&] { f.get_u32("none"); }, "key 'none': has type array of u32, expected u32");
}

void check_arrays(const GgufFile& f) {
  T5G_CHECK((f.get_i32_array("i16s") == std::vector<int32_t>{1, -2}));
  T5G_CHECK(f.get_u32_array("none").empty());
  T5G_CHECK((f.get_f32_array("f64s") == std::vector<float>{0.5f, HUGE_VALF}));
  T5G_CHECK((f.get_bool_array("bools") == std::vector<bool>{true, false}));
  T5G_CHECK((f.get_string_array("texts") == std::vector<std::string_view>{"a", ""}));
  fails([&] { f.get_u32_array("i16s"); }, "key 'i16s': is -2, which does not fit, expected array of u32");
  fails([&] { f.get_u32_array("u64s"); }, "key 'u64s': is 1099511627776, which does not fit, expected array of u32");
  fails([&] { f.get_u32_array("u8"); }, "key 'u8': has type u8, expected array of u32");
  fails([&] { f.get_f32_array("i16s"); }, "key 'i16s': has type array of i16, expected array of f32");
  fails([&] { f.get_bool_array("none"); }, "key 'none': has type array of u32, expected array of bool");
  fails([&] { f.get_string_array("name"); }, "key 'name': has type string, expected array of string");
}

void check_tensors(const GgufFile& f) {
  const t5g::TensorInfo& t = f.tensor("t", {2, 3});
  T5G_CHECK(t.rows() == 2 && t.cols() == 3 && t.type == t5g::DataType::kF32 && t.size_bytes == 24);
  T5G_CHECK(f.in_memory(t).size() == 24 && reinterpret_cast<uintptr_t>(f.in_memory(t).data()) % 8 == 0);
  T5G_CHECK(f.find("t") == &t && f.find("absent") == nullptr);
  T5G_CHECK(f.file() == nullptr);  // the bytes are ours
  fails([&] { f.tensor("t", {3, 2}); }, "tensor 't': shape [2, 3], expected [3, 2]. ");
  fails([&] { f.tensor("t", {6}); }, "tensor 't': shape [2, 3], expected [6]. ");
  fails([&] { f.tensor("absent", {1}); }, "tensor 'absent': missing");
  fails([&] { f.find("q"); }, "tensor 'q': type Q4_K (id 12) is not supported, expected one of F32, ");
  fails([&] { f.fail_key("a\nb", "is odd."); }, "key 'a\\x0ab': is odd.");
}

}  // namespace

int main() {
  const std::string content = sample();
  std::vector<uint64_t> aligned((content.size() + 7) / 8);
  std::memcpy(aligned.data(), content.data(), content.size());
  const GgufFile file({reinterpret_cast<const std::byte*>(aligned.data()), content.size()}, "f.gguf");
  check_scalars(file);
  check_arrays(file);
  check_tensors(file);
  std::puts("ok");
}
