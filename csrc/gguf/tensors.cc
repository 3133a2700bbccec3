// The tensor list: every shape, type and range is proven before the first byte of data is handed out.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/printable.h"
#include "base/utf8.h"
#include "gguf/cursor.h"
#include "gguf/reader.h"
#include "gguf/sorted_index.h"

namespace t5g {
namespace {

constexpr size_t kMaxNameBytes = 63;
constexpr uint32_t kMaxDims = 4;

// The format's types beyond those of types.inc, so that a message can say which one it is that t5g does not read.
constexpr std::pair<uint32_t, std::string_view> kOtherTypes[] = {
    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},    {13, "Q5_K"},  {14, "Q6_K"},
    {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"},
    {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},   {26, "I32"},
    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},   {35, "TQ2_0"}, {39, "MXFP4"}};

std::string supported_types() {
  std::string names;
  for (const DataTypeInfo& type : kDataTypes) names += (names.empty() ? "" : ", ") + std::string(type.name);
  return names;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t dim : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

}  // namespace

int64_t TensorInfo::rows() const {
  int64_t product = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

std::string gguf_type_name(uint32_t type_id) {
  if (const auto type = type_from_gguf_id(type_id)) return std::string(info(*type).name);
  const auto* found = std::find_if(std::begin(kOtherTypes), std::end(kOtherTypes),
                                   [&](const auto& other) { return other.first == type_id; });
  return found == std::end(kOtherTypes) ? "type " + std::to_string(type_id) : std::string(found->second);
}

void GgufFile::read_tensors(gguf::Cursor& cursor, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const std::string ordinal = "tensor " + std::to_string(i + 1) + " of " + std::to_string(count);
    TensorInfo tensor{};
    tensor.name = cursor.string(ordinal);
    if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes || !is_utf8(tensor.name)) {
      throw ModelFormatError(name_, ordinal + ": the name '" + printable(tensor.name, 100) + "' has " +
                                        std::to_string(tensor.name.size()) + " bytes, expected UTF-8 of 1 to " +
                                        std::to_string(kMaxNameBytes) + " bytes. The file is damaged.");
    }
    const auto n_dims = cursor.read<uint32_t>(ordinal);
    if (n_dims < 1 || n_dims > kMaxDims) {
      fail_tensor(tensor.name, std::to_string(n_dims) + " dimensions, expected 1 to " + std::to_string(kMaxDims) +
                                   ". The file is damaged.");
    }
    int64_t n_elements = 1;
    for (uint32_t d = 0; d < n_dims; ++d) {
      const auto dim = cursor.read<int64_t>(ordinal);
      if (dim < 1 || __builtin_mul_overflow(n_elements, dim, &n_elements)) {
        fail_tensor(tensor.name, "dimension " + std::to_string(static_cast<uint64_t>(dim)) +
                                     " is zero or too large. The file is damaged.");
      }
      tensor.shape.insert(tensor.shape.begin(), dim);  // the file has the innermost first
    }
    tensor.type_id = cursor.read<uint32_t>(ordinal);
    tensor.offset = cursor.read<uint64_t>(ordinal);
    const auto type = type_from_gguf_id(tensor.type_id);
    tensor.supported = type.has_value();
    tensor.type = type.value_or(DataType::kF32);
    tensors_.push_back(std::move(tensor));
  }
  const auto name_of = [&](uint32_t i) { return tensors_[i].name; };
  tensors_by_name_ = gguf::sort_by_name(tensors_.size(), name_of);
  if (const auto name = gguf::find_duplicate(tensors_by_name_, name_of)) {
    fail_tensor(*name, "occurs twice. The file is damaged or was made by a faulty tool.");
  }
}

// Turns offsets into the data section, which begins at the next multiple of the alignment, into checked ranges.
void GgufFile::place_tensors(uint64_t end_of_header) {
  const uint64_t data_begin = (end_of_header + alignment_ - 1) / alignment_ * alignment_;  // both are small
  uint64_t file_end = size_bytes();
  const TensorInfo* last = nullptr;  // the one that ends where a complete file would
  for (TensorInfo& tensor : tensors_) {
    uint64_t size = 0;
    if (tensor.supported) {
      const DataTypeInfo& type = info(tensor.type);
      if (tensor.cols() % type.block_values != 0) {
        fail_tensor(tensor.name, "rows of " + std::to_string(tensor.cols()) + " values, expected a multiple of " +
                                     std::to_string(type.block_values) + " for " + std::string(type.name) +
                                     ". The file is damaged or was made by a faulty tool.");
      }
      const auto n_blocks = static_cast<uint64_t>(tensor.rows() * (tensor.cols() / type.block_values));
      if (__builtin_mul_overflow(n_blocks, static_cast<uint64_t>(type.block_bytes), &size)) {
        fail_tensor(tensor.name, "shape " + shape_text(tensor.shape) + " is too large. The file is damaged.");
      }
    }
    uint64_t end = 0;
    if (tensor.offset % alignment_ != 0 || __builtin_add_overflow(tensor.offset, data_begin, &tensor.offset) ||
        __builtin_add_overflow(tensor.offset, size, &end)) {
      fail_tensor(tensor.name, "offset " + std::to_string(tensor.offset) + " is not a multiple of " +
                                   std::to_string(alignment_) + " or too large. The file is damaged.");
    }
    if (end > file_end) {
      file_end = end;
      last = &tensor;
    }
    tensor.size_bytes = size;
  }
  if (last != nullptr) {
    fail_tensor(last->name, "the file is truncated: expected at least " + std::to_string(file_end) + " bytes, found " +
                                std::to_string(size_bytes()) + ". Download or copy it again.");
  }
  check_overlaps();
}

void GgufFile::check_overlaps() const {
  std::vector<const TensorInfo*> in_order;
  for (const TensorInfo& tensor : tensors_) {
    if (tensor.supported) in_order.push_back(&tensor);
  }
  const auto by_offset = [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; };
  std::sort(in_order.begin(), in_order.end(), by_offset);
  for (size_t i = 1; i < in_order.size(); ++i) {
    const TensorInfo& previous = *in_order[i - 1];
    if (in_order[i]->offset < previous.offset + previous.size_bytes) {
      fail_tensor(in_order[i]->name,
                  "its data overlaps that of tensor '" + printable(previous.name) + "'. The file is damaged.");
    }
  }
}

void GgufFile::read(const TensorInfo& tensor, uint64_t first, std::span<std::byte> out) const {
  if (file_ != nullptr) return file_->read(tensor.offset + first, out);
  if (bytes_.empty()) throw Error(name_ + ": the file has been closed.");
  const auto bytes = in_memory(tensor).subspan(first, out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
}

std::span<const std::byte> GgufFile::in_memory(const TensorInfo& tensor) const {
  return bytes_.empty() ? bytes_ : bytes_.subspan(tensor.offset, tensor.size_bytes);
}

const TensorInfo* GgufFile::find(std::string_view name) const {
  const auto found = gguf::find_by_name(tensors_by_name_, name, [&](uint32_t i) { return tensors_[i].name; });
  if (!found) return nullptr;
  const TensorInfo& tensor = tensors_[*found];
  if (!tensor.supported) {
    fail_tensor(name, "type " + gguf_type_name(tensor.type_id) + " (id " + std::to_string(tensor.type_id) +
                          ") is not supported, expected one of " + supported_types() +
                          ". Convert the model again to one of these.");
  }
  return &tensor;
}

const TensorInfo& GgufFile::tensor(std::string_view name) const {
  const TensorInfo* found = find(name);
  if (found == nullptr) fail_tensor(name, "missing. Convert the model again.");
  return *found;
}

const TensorInfo& GgufFile::tensor(std::string_view name, const std::vector<int64_t>& shape) const {
  const TensorInfo& found = tensor(name);
  if (found.shape != shape) {
    fail_tensor(name, "shape " + shape_text(found.shape) + ", expected " + shape_text(shape) +
                          ". The file's hyper-parameters and weights do not belong together: convert the model again.");
  }
  return found;
}

}  // namespace t5g
