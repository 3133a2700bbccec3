// Checks of the vocabulary, and the path of a text through its steps: repair, cut at added tokens, BPE, byte fallback.
#include "text/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/printable.h"
#include "base/utf8.h"
#include "text/stream_decoder.h"

namespace t5g {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 29;  // three times that, as spaces grow, is still within BPE's 32 bits

int32_t checked_id(int64_t id, const char* name, int32_t vocab_size, const std::string& where) {
  if (id < 0 || id >= vocab_size) {
    throw ModelFormatError(where, std::string(name) + " is " + std::to_string(id) + ", expected 0 to " +
                                      std::to_string(vocab_size - 1) + ". The file is damaged: convert it again.");
  }
  return static_cast<int32_t>(id);
}

// The value of "<0x0A>", exactly so spelled.
std::optional<uint8_t> parse_byte_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  uint8_t value = 0;
  const char* end = piece.data() + 5;
  const auto [stop, error] = std::from_chars(piece.data() + 3, end, value, 16);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

// Each byte outside well-formed UTF-8 becomes U+FFFD.
std::string repaired(std::string_view text) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  while (!text.empty()) {
    const size_t size = utf8_character_size(text);
    result += size == 0 ? kReplacementCharacter : text.substr(0, size);
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return result;
}

// Pieces that Gemma's vocabularies keep for later use. GGUF converters type them as control.
bool is_reserved(std::string_view piece) {
  return piece.starts_with("<unused") || piece == "<mask>" || piece == "<2mass>" || piece == "[@BOS@]";
}

}  // namespace

Tokenizer::Tokenizer(const Vocabulary& v, const std::string& where)
    : table_(v.pieces, v.scores, v.types, v.added_tokens, where),
      bpe_(table_, v.merges, where),
      added_tokens_(table_, v.added_tokens),
      has_rules_(v.added_tokens.has_value()),
      is_placeholder_(v.is_placeholder),
      where_(where),
      bos_id_(checked_id(v.bos_id, "bos_token_id", table_.size(), where)),
      eos_id_(checked_id(v.eos_id, "eos_token_id", table_.size(), where)),
      unk_id_(checked_id(v.unk_id, "unknown_token_id", table_.size(), where)),
      pad_id_(checked_id(v.pad_id, "padding_token_id", table_.size(), where)),
      prefix_ids_(check_ids(v.prefix_ids, where)),
      suffix_ids_(check_ids(v.suffix_ids, where)) {
  read_bytes(where);
  // Without rules, all tokens are matched where spaces are U+2581.
  const auto is_late = [&](const AddedToken& t) { return t.has(AddedTokenFlag::kNormalized) && is_control(t.id); };
  special_when_normalized_ = !v.added_tokens || std::any_of(v.added_tokens->begin(), v.added_tokens->end(), is_late);
}

std::vector<int32_t> Tokenizer::check_ids(std::span<const int32_t> ids, const std::string& where) const {
  for (const int32_t id : ids) checked_id(id, "a token that begins or ends sources", table_.size(), where);
  return {ids.begin(), ids.end()};
}

void Tokenizer::read_bytes(const std::string& where) {
  byte_ids_.fill(-1);
  for (int32_t id = 0; id < table_.size(); ++id) {
    if (table_[id].type != PieceType::kByte) continue;
    const auto value = parse_byte_piece(table_.text(id));
    if (!value) {
      throw ModelFormatError(where, "piece " + std::to_string(id) + " is typed as a byte but reads '" +
                                        printable(table_.text(id)) + "', expected <0x00> to <0xFF>.");
    }
    if (byte_ids_[*value] < 0) byte_ids_[*value] = id;
    has_bytes_ = true;
  }
  for (uint8_t byte = 0; byte < 128; ++byte) {
    // Gemma 2's tokenizer has a tab in the place of its byte.
    const char character = static_cast<char>(byte);
    if (has_bytes_ && byte_ids_[byte] < 0) byte_ids_[byte] = table_.find({&character, 1});
  }
  const auto missing = std::find(byte_ids_.begin(), byte_ids_.end(), -1);
  if (has_bytes_ && missing != byte_ids_.end()) {
    throw ModelFormatError(where, "there is no piece for the byte " + std::to_string(missing - byte_ids_.begin()) +
                                      "; a vocabulary has pieces for all 256 bytes or for none.");
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  require_text();
  if (text.size() > kMaxTextBytes) {
    throw InvalidArgument("a text of " + std::to_string(text.size()) + " bytes is more than the tokenizer takes (" +
                          std::to_string(kMaxTextBytes) + "). Split it.");
  }
  for (const int32_t id : options.also_match) check_id(id);
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids.assign(prefix_ids_.begin(), prefix_ids_.end());

  const auto accept = [&](int32_t id) {
    return table_[id].type == PieceType::kUserDefined || options.parse_special ||
           std::find(options.also_match.begin(), options.also_match.end(), id) != options.also_match.end();
  };
  bool after_unknown = false;  // without byte pieces, a run of unknown characters is one unk
  const auto emit = [&](std::string_view symbol, int32_t id) {
    if (id >= 0) {
      ids.push_back(id);
    } else if (has_bytes_) {
      for (const char c : symbol) ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    } else if (!after_unknown) {
      ids.push_back(unk_id_);
    }
    after_unknown = id < 0;
  };
  const auto on_token = [&](int32_t id, std::string_view) { emit({}, id); };

  Bpe::Workspace workspace;
  std::string normalized;
  const auto on_text = [&](std::string_view between) { bpe_.encode(between, workspace, emit); };
  const auto on_raw_text = [&](std::string_view between) {
    normalized.clear();
    append_with_space_marks(between, normalized);
    added_tokens_.cut_normalized(normalized, accept, on_text, on_token);
  };
  const std::string valid = is_utf8(text) ? std::string() : repaired(text);
  added_tokens_.cut_raw(valid.empty() ? text : valid, accept, on_raw_text, on_token);
  if (options.add_special_tokens) ids.insert(ids.end(), suffix_ids_.begin(), suffix_ids_.end());
  return ids;
}

std::vector<Tokenizer::Part> Tokenizer::split_special(std::string_view text) const {
  std::vector<Part> parts;
  std::string pending;
  const auto any = [](int32_t) { return true; };
  const auto on_text = [&](std::string_view between) { pending += between; };
  const auto flush = [&] {
    if (!pending.empty()) parts.push_back({std::exchange(pending, {}), -1});
  };
  const auto on_token = [&](int32_t id, std::string_view matched) {
    if (!is_control(id)) return on_text(matched);
    flush();
    parts.push_back({std::string(), id});
  };
  added_tokens_.cut_raw(text, any, on_text, on_token);
  flush();
  if (!special_when_normalized_) return parts;
  std::string normalized;
  for (Part& part : std::exchange(parts, {})) {
    if (part.id >= 0) {
      parts.push_back(std::move(part));
      continue;
    }
    normalized.clear();
    append_with_space_marks(part.text, normalized);
    added_tokens_.cut_normalized(normalized, any, on_text, on_token);
    flush();
  }
  return parts;
}

std::vector<std::string_view> Tokenizer::special_pieces() const {
  std::vector<std::string_view> pieces;
  for (int32_t id = 0; id < vocab_size(); ++id) {
    if (is_control(id)) pieces.push_back(table_.text(id));
  }
  return pieces;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  require_text();
  StreamDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text += decoder.finish();
}

void Tokenizer::require_text() const {
  if (!is_placeholder_) return;
  throw Unsupported(where_ +
                    ": has no tokenizer, because its checkpoint had none when it was converted, so it takes and gives "
                    "token ids only. Give ids and read token_ids, or convert the checkpoint again with its "
                    "tokenizer.json or tokenizer.model.");
}

void Tokenizer::check_id(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    throw InvalidArgument("token id " + std::to_string(id) + " is outside the vocabulary, expected 0 to " +
                          std::to_string(vocab_size() - 1) + ".");
  }
}

std::string_view Tokenizer::piece(int32_t id) const {
  check_id(id);
  return table_.text(id);
}

std::optional<int32_t> Tokenizer::find(std::string_view piece) const {
  const int32_t id = table_.find(piece);
  return id >= 0 ? std::optional(id) : std::nullopt;
}

std::optional<uint8_t> Tokenizer::byte(int32_t id) const {
  check_id(id);
  return table_[id].type == PieceType::kByte ? parse_byte_piece(table_.text(id)) : std::nullopt;
}

bool Tokenizer::is_control(int32_t id) const {
  check_id(id);
  return table_[id].type == PieceType::kControl || table_[id].type == PieceType::kUnknown;
}

bool Tokenizer::is_special(int32_t id) const { return is_control(id) && (has_rules_ || !is_reserved(table_.text(id))); }

}  // namespace t5g
