// Reading what is not in memory.
#include "tensor/weight.h"

namespace t5g {

const std::byte* WeightReader::rows(int64_t first, int64_t last) {
  const size_t begin = static_cast<size_t>(first) * weight_.bytes_per_row();
  if (weight_.file == nullptr) return weight_.bytes.data() + begin;
  const size_t size = static_cast<size_t>(last - first) * weight_.bytes_per_row();
  if (read_bytes_ < size) {
    read_ = std::make_unique_for_overwrite<std::byte[]>(size);
    read_bytes_ = size;
  }
  weight_.file->read(weight_.offset + begin, {read_.get(), size});
  return read_.get();
}

}  // namespace t5g
