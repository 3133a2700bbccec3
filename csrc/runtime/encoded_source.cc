// The file of an encoded source: a header of fixed size, what is unusual about it where anything is, token ids, hidden
// states, all little endian.
#include "runtime/encoded_source.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/function_ref.h"
#include "base/input_file.h"
#include "base/output_file.h"
#include "base/printable.h"

namespace t5g {
namespace {

constexpr char kMagic[8] = {'t', '5', 'g', '-', 's', 'r', 'c', '3'};
// With an Unusual after the header, and so many adapters.
constexpr char kMagicUnusual[8] = {'t', '5', 'g', '-', 's', 'r', 'c', '4'};
// Of older files: without the last two fields, with states in f32; and without the last three, from when nothing noted
// encoder_window.
constexpr char kMagicOfFloats[8] = {'t', '5', 'g', '-', 's', 'r', 'c', '2'};
constexpr char kMagicWithoutReach[8] = {'t', '5', 'g', '-', 's', 'r', 'c', '1'};

struct Header {
  char magic[8];
  uint64_t model_fingerprint;
  uint64_t n_tokens;
  uint64_t hidden_size;
  int64_t sliding_reach;
  uint64_t gguf_type;  // of the states, laid out as in tensor/state_rows.h
  int64_t n_truncated;
};

struct Unusual {
  int32_t layer;
  uint32_t n_adapters;
  uint64_t n_padding;
};

struct SavedAdapter {
  uint64_t fingerprint;
  float scale;
  uint32_t name_size;  // its bytes follow
};

constexpr uint32_t kMaxAdapters = 1024, kMaxName = 4096;
constexpr int64_t kUnknownReach = -1;

std::atomic<uint64_t> next_id{1};

// A file, wherever its bytes are.
struct Content {
  const std::string& path;
  uint64_t size_bytes;
  FunctionRef<void(uint64_t offset, std::span<std::byte> out)> read;
};

[[noreturn]] void fail_damaged(const std::string& path) {
  throw ModelFormatError(path, "is damaged: what it says of itself cannot be. Save the source again.");
}

// What is unusual, from byte `at` on -> where it ends.
size_t read_unusual(const Content& file, size_t at, Unusual& unusual, SourceOrigin& origin) {
  const auto take = [&](void* to, size_t size) {
    if (size > file.size_bytes - at) fail_damaged(file.path);
    file.read(at, {static_cast<std::byte*>(to), size});
    at += size;
  };
  take(&unusual, sizeof unusual);
  if (unusual.layer < SourceOrigin::kFinal || unusual.n_adapters > kMaxAdapters) fail_damaged(file.path);
  origin.layer = unusual.layer;
  for (uint32_t i = 0; i < unusual.n_adapters; ++i) {
    SavedAdapter saved{};
    take(&saved, sizeof saved);
    if (saved.name_size > kMaxName) fail_damaged(file.path);
    std::string name(saved.name_size, ' ');
    take(name.data(), name.size());
    origin.adapters.push_back({saved.fingerprint, saved.scale, std::move(name)});
  }
  return at;
}

// The header, checked against the file's size -> how many bytes it takes.
size_t read_header(const Content& file, Header& header) {
  std::byte bytes[sizeof header];
  const size_t n_bytes = static_cast<size_t>(std::min<uint64_t>(sizeof bytes, file.size_bytes));
  file.read(0, {bytes, n_bytes});
  const auto begins_with = [&](const char (&magic)[8]) {
    return n_bytes >= sizeof magic && std::memcmp(bytes, magic, sizeof magic) == 0;
  };
  size_t size = 0;
  if (begins_with(kMagic) || begins_with(kMagicUnusual)) size = sizeof header;
  if (begins_with(kMagicOfFloats)) size = offsetof(Header, gguf_type);
  if (begins_with(kMagicWithoutReach)) size = offsetof(Header, sliding_reach);
  if (size == 0 || n_bytes < size)
    throw ModelFormatError(file.path, "not an encoded source. Expected a file written by EncodedSource.save.");
  header.sliding_reach = kUnknownReach;
  header.gguf_type = info(DataType::kF32).gguf_id;
  header.n_truncated = 0;
  std::memcpy(&header, bytes, size);
  return size;
}

DataType type_of(const std::string& path, const Header& header) {
  const auto type =
      header.gguf_type <= UINT32_MAX ? type_from_gguf_id(static_cast<uint32_t>(header.gguf_type)) : std::nullopt;
  if (type && is_state_type(*type)) return *type;
  throw ModelFormatError(path, "holds states of the unknown type " + std::to_string(header.gguf_type) +
                                   ". It is damaged, or a newer t5g wrote it: encode the source again.");
}

void check_payload(const std::string& path, const Header& header, DataType type, uint64_t n_padding, uint64_t payload) {
  const uint64_t bytes_per_row = state_row_bytes(type, static_cast<int64_t>(header.hidden_size));
  const uint64_t bytes_per_token = sizeof(int32_t) + bytes_per_row;
  const bool fits = n_padding <= payload / bytes_per_row;
  const uint64_t own = fits ? payload - n_padding * bytes_per_row : 0;
  if (fits && own % bytes_per_token == 0 && own / bytes_per_token == header.n_tokens) return;
  throw ModelFormatError(path, "has " + std::to_string(payload) + " bytes of data, expected " +
                                   std::to_string(header.n_tokens) + " tokens of " + std::to_string(bytes_per_token) +
                                   " bytes. The file is truncated or damaged: save the source again.");
}

void check_window(const std::string& path, const Header& header, const EncodedSource::Expected& expected) {
  const auto n_tokens = static_cast<int64_t>(header.n_tokens);
  const SourceOrigin origin{header.model_fingerprint, header.sliding_reach};
  const bool known = header.sliding_reach != kUnknownReach;
  if (known ? origin.agrees_on_window(expected.origin, n_tokens) : n_tokens - 1 <= expected.reach_of_all) return;
  throw ModelFormatError(path, known
                                   ? "was encoded with another encoder_window than this model has, and is longer than "
                                     "the window. Encode the source again with this model."
                                   : "does not say with which encoder_window it was encoded, as an older t5g wrote it, "
                                     "and is longer than the window. Encode the source again with this model.");
}

// A source saved over the model that made it would be the end of both.
void check_is_no_model(const std::string& path) {
  const OutputTarget target = find_output(path);
  if (target.kind != OutputTarget::Kind::kFile) return;
  constexpr std::string_view kModel = "GGUF";
  char beginning[kModel.size()] = {};
  try {
    const InputFile file(target.path);
    if (file.size_bytes() < sizeof beginning) return;
    file.read(0, std::as_writable_bytes(std::span(beginning)));
  } catch (const Error&) {  // may be written and not read: then it is none that was read
    return;
  }
  if (std::string_view(beginning, sizeof beginning) == kModel)
    throw InvalidArgument(printable(path) + ": is a model, which a source must not replace. Give another name.");
}

}  // namespace

EncodedSource::EncodedSource(std::vector<int32_t> ids, StateRows hidden_states, const SourceOrigin& origin,
                             int64_t n_truncated)
    : id_(next_id.fetch_add(1)),
      ids_(std::move(ids)),
      padded_(std::move(hidden_states)),
      hidden_states_(padded_.type(), padded_.cols(), std::ssize(ids_), padded_.memory()),
      origin_(origin),
      n_truncated_(n_truncated) {}

EncodedSource::~EncodedSource() {
  for (const auto& observer : observers_) {
    if (const auto alive = observer.lock()) alive->source_gone(id_);
  }
}

void EncodedSource::observe(const std::weak_ptr<SourceObserver>& observer) const {
  const std::lock_guard lock(observers_mutex_);
  std::erase_if(observers_, [&](const auto& other) {
    const bool same = !other.owner_before(observer) && !observer.owner_before(other);
    return same || other.expired();
  });
  observers_.push_back(observer);
}

namespace {

std::string describe_unusual(const EncodedSource& source) {
  const SourceOrigin& origin = source.origin();
  if (origin.layer == SourceOrigin::kFinal && origin.adapters.empty() && source.n_padding() == 0) return {};
  std::string bytes;
  const auto put = [&](const auto& value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put(Unusual{origin.layer, static_cast<uint32_t>(origin.adapters.size()), static_cast<uint64_t>(source.n_padding())});
  for (const AdapterUse& use : origin.adapters) {
    const std::string name = use.name.substr(0, kMaxName);
    put(SavedAdapter{use.fingerprint, use.scale, static_cast<uint32_t>(name.size())});
    bytes += name;
  }
  return bytes;
}

// What is written, piece by piece.
template <class Write>
void write_source(const EncodedSource& source, Write write) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.model_fingerprint = source.origin().model_fingerprint;
  header.n_tokens = source.ids().size();
  header.hidden_size = static_cast<uint64_t>(source.hidden_size());
  header.sliding_reach = source.origin().sliding_reach;
  header.gguf_type = info(source.hidden_states().type()).gguf_id;
  header.n_truncated = source.n_truncated();
  const std::string unusual = describe_unusual(source);
  if (!unusual.empty()) std::memcpy(header.magic, kMagicUnusual, sizeof kMagicUnusual);
  write(std::as_bytes(std::span(&header, 1)));
  write(std::as_bytes(std::span(unusual)));
  write(std::as_bytes(std::span(source.ids())));
  write(source.padded_hidden_states().bytes());
}

size_t size_of(const EncodedSource& source) {
  return sizeof(Header) + describe_unusual(source).size() + source.ids().size() * sizeof(int32_t) +
         source.padded_hidden_states().size_bytes();
}

std::shared_ptr<EncodedSource> read_source(const Content& file, const EncodedSource::Expected& expected) {
  Header header{};
  size_t header_size = read_header(file, header);
  const std::string& path = file.path;
  Unusual unusual{};
  SourceOrigin origin = expected.origin;
  if (std::memcmp(header.magic, kMagicUnusual, sizeof kMagicUnusual) == 0)
    header_size = read_unusual(file, header_size, unusual, origin);
  if (header.model_fingerprint != expected.origin.model_fingerprint ||
      header.hidden_size != static_cast<uint64_t>(expected.hidden_size)) {
    throw ModelFormatError(path, "was encoded with another model. Encode the source again with this one.");
  }
  const DataType type = type_of(path, header);
  check_payload(path, header, type, unusual.n_padding, file.size_bytes - header_size);
  check_window(path, header, expected);
  std::vector<int32_t> ids(header.n_tokens);
  file.read(header_size, std::as_writable_bytes(std::span(ids)));
  for (const int32_t id : ids) {
    if (id < 0 || id >= expected.vocab_size)
      throw ModelFormatError(path,
                             "has token id " + std::to_string(id) + ", outside the vocabulary. The file is damaged.");
  }
  const auto n_rows = static_cast<int64_t>(ids.size() + unusual.n_padding);
  const size_t state_bytes = static_cast<size_t>(n_rows) * state_row_bytes(type, expected.hidden_size);
  auto bytes = std::make_shared<Buffer>(state_bytes);
  file.read(header_size + ids.size() * sizeof(int32_t), {bytes->data(), state_bytes});
  StateRows states(type, expected.hidden_size, n_rows, std::move(bytes));
  return std::make_shared<EncodedSource>(std::move(ids), std::move(states), origin, header.n_truncated);
}

}  // namespace

void EncodedSource::save(const std::string& path) const {
  check_is_no_model(path);
  OutputFile file(path, size_of(*this));
  write_source(*this, [&](std::span<const std::byte> bytes) { file.write(bytes.data(), bytes.size()); });
  file.commit();
}

std::vector<std::byte> EncodedSource::to_bytes() const {
  std::vector<std::byte> all(size_of(*this));
  auto end = all.begin();
  write_source(*this, [&](std::span<const std::byte> bytes) { end = std::ranges::copy(bytes, end).out; });
  return all;
}

std::shared_ptr<EncodedSource> EncodedSource::load(const std::string& path, const Expected& expected) {
  const InputFile file(path);
  const auto read = [&](uint64_t offset, std::span<std::byte> out) { file.read(offset, out); };
  return read_source({path, file.size_bytes(), read}, expected);
}

std::shared_ptr<EncodedSource> EncodedSource::from_bytes(std::span<const std::byte> bytes, const Expected& expected) {
  const std::string name = "the source in memory";
  const auto read = [&](uint64_t offset, std::span<std::byte> out) {
    std::ranges::copy(bytes.subspan(offset, out.size()), out.begin());
  };
  return read_source({name, bytes.size(), read}, expected);
}

}  // namespace t5g
