// A GGUF file, opened and checked: every key and tensor that it hands out lies inside the file, and all that is left to
// go wrong is that something is missing, or of another type or shape than the caller expects; and that somebody writes
// to the file, which reading a tensor notices.
//
// Its header is in memory; tensors are read when they are wanted. Names and strings are views that live as long as the
// object does. Threads may share it, but for the calls that are not const.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/input_file.h"
#include "gguf/cursor.h"
#include "gguf/header_bytes.h"
#include "gguf/value.h"
#include "quant/types.h"

namespace t5g {

struct TensorInfo {
  std::string_view name;       // shorter than 64 bytes
  std::vector<int64_t> shape;  // NumPy order: [..., rows, cols]; 1 to 4 dimensions, each at least 1
  uint32_t type_id;            // as the format numbers it
  bool supported;              // false: a type that t5g does not know, so that only name, shape and offset are known
  DataType type;               // when supported
  uint64_t offset;             // from the start of the file; a multiple of the file's alignment (at least 8)
  uint64_t size_bytes;         // when supported: whole rows, no padding

  int64_t cols() const { return shape.back(); }
  int64_t rows() const;  // product of all dimensions but the last: 1 for a vector
};

// "Q4_K" for 12, also where t5g cannot decode the type; "type 99" for an id that the format does not have.
std::string gguf_type_name(uint32_t type_id);

class GgufFile {
 public:
  // Throws FileNotFound, IoError, or ModelFormatError naming the file and the key or tensor.
  explicit GgufFile(const std::string& path) : GgufFile(std::make_unique<const InputFile>(path)) {}
  explicit GgufFile(std::unique_ptr<const InputFile> file);
  // A file that is already in memory, which must be aligned to 8 bytes and outlive the object; `name` is what errors
  // call it.
  GgufFile(std::span<const std::byte> bytes, const std::string& name);
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  // What errors about this file begin with: its path, made printable.
  const std::string& name() const { return name_; }
  uint64_t size_bytes() const { return header_.size_bytes(); }
  uint32_t alignment() const { return alignment_; }

  // ---- Metadata ----
  // get_* throws ModelFormatError when the key is missing, find_* is empty then; both throw it when the value has
  // another type or does not fit. Integers of any width are converted when every value fits, f32 and f64 too; get_f32,
  // find_f32 and find_f64 accept finite numbers only (array elements may be anything).
  uint32_t get_u32(std::string_view key) const { return get<uint32_t>(key); }
  int32_t get_i32(std::string_view key) const { return get<int32_t>(key); }
  float get_f32(std::string_view key) const { return get<float>(key); }
  bool get_bool(std::string_view key) const { return get<bool>(key); }
  std::string_view get_string(std::string_view key) const { return get<std::string_view>(key); }
  std::vector<uint32_t> get_u32_array(std::string_view key) const { return get<std::vector<uint32_t>>(key); }
  std::vector<int32_t> get_i32_array(std::string_view key) const { return get<std::vector<int32_t>>(key); }
  std::vector<float> get_f32_array(std::string_view key) const { return get<std::vector<float>>(key); }
  std::vector<bool> get_bool_array(std::string_view key) const { return get<std::vector<bool>>(key); }
  // The strings are bytes as they lie in the file, not necessarily UTF-8.
  std::vector<std::string_view> get_string_array(std::string_view key) const {
    return get<std::vector<std::string_view>>(key);
  }

  std::optional<uint32_t> find_u32(std::string_view key) const { return find_as<uint32_t>(key); }
  std::optional<int32_t> find_i32(std::string_view key) const { return find_as<int32_t>(key); }
  std::optional<float> find_f32(std::string_view key) const { return find_as<float>(key); }
  std::optional<double> find_f64(std::string_view key) const { return find_as<double>(key); }
  std::optional<bool> find_bool(std::string_view key) const { return find_as<bool>(key); }
  std::optional<std::string_view> find_string(std::string_view key) const { return find_as<std::string_view>(key); }
  std::optional<std::vector<int32_t>> find_i32_array(std::string_view key) const {
    return find_as<std::vector<int32_t>>(key);
  }
  std::optional<std::vector<float>> find_f32_array(std::string_view key) const {
    return find_as<std::vector<float>>(key);
  }
  std::optional<std::vector<std::string_view>> find_string_array(std::string_view key) const {
    return find_as<std::vector<std::string_view>>(key);
  }

  struct Metadata {
    std::string_view key;
    gguf::Value value;
    std::span<const std::byte> stored;  // type id and value exactly as they lie in the file
    bool forgotten = false;             // by forget_long_arrays()
  };
  // In the order of the file.
  const std::vector<Metadata>& metadata() const { return metadata_; }
  bool has_key(std::string_view key) const { return find_metadata(key) != nullptr; }
  const Metadata* find_metadata(std::string_view key) const;

  // For the caller's own checks of a value: throws ModelFormatError "FILE: key 'KEY': WHAT".
  [[noreturn]] void fail_key(std::string_view key, const std::string& what) const;

  // ---- Tensors ----
  // The tensor of this name, or null. Throws ModelFormatError when its type is not supported.
  const TensorInfo* find(std::string_view name) const;
  // The same, throwing also when it is missing.
  const TensorInfo& tensor(std::string_view name) const;
  // The same, throwing also when it has another shape (NumPy order: {rows, cols}).
  const TensorInfo& tensor(std::string_view name, const std::vector<int64_t>& shape) const;
  // All of them in the order of the file, those of unsupported types too.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  // Throws ModelFormatError "FILE: tensor 'NAME': WHAT".
  [[noreturn]] void fail_tensor(std::string_view name, const std::string& what) const;

  // The bytes of a tensor from byte `first` of it on. Throws ModelFormatError when the file has changed; IoError.
  void read(const TensorInfo& tensor, uint64_t first, std::span<std::byte> out) const;
  // A tensor of a file that is in memory; empty for any other.
  std::span<const std::byte> in_memory(const TensorInfo& tensor) const;
  // What tensors are read from; null when the bytes are the caller's, and after close().
  const InputFile* file() const { return file_.get(); }

  // ---- When all that was wanted of it has been read ----
  // Gives back the memory of long arrays, a vocabulary's: they can be looked up no more.
  void forget_long_arrays();
  // Closes the file: no tensor can be read any more.
  void close() { file_.reset(); }

 private:
  template <class T>
  T get(std::string_view key) const;
  template <class T>
  std::optional<T> find_as(std::string_view key) const;

  void parse();
  void read_metadata(gguf::Cursor& cursor, uint64_t count);
  void read_tensors(gguf::Cursor& cursor, uint64_t count);
  void read_alignment();
  void place_tensors(uint64_t end_of_header);
  void check_overlaps() const;

  std::string name_;
  std::unique_ptr<const InputFile> file_;
  std::span<const std::byte> bytes_;  // the caller's
  gguf::HeaderBytes header_;
  uint32_t alignment_ = 32;
  std::vector<Metadata> metadata_;
  std::vector<TensorInfo> tensors_;
  // Positions in the vectors above, sorted by name: look-ups and the search for duplicates stay fast whatever names
  // somebody makes up, which a hash table does not promise.
  std::vector<uint32_t> metadata_by_key_;
  std::vector<uint32_t> tensors_by_name_;
};

}  // namespace t5g
