// Text to token ids and back, as SentencePiece and Hugging Face's tokenizers do it for Gemma, from plain arrays.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/piece_table.h"

namespace t5g {

// What a file says about its tokenizer; needed only while a Tokenizer is made of it.
struct Vocabulary {
  std::span<const std::string_view> pieces;
  std::span<const float> scores;   // of merges: higher first
  std::span<const int32_t> types;  // PieceType
  int64_t bos_id = -1;
  int64_t eos_id = -1;
  int64_t unk_id = -1;
  int64_t pad_id = -1;
  std::span<const int32_t> prefix_ids = {};  // what sources begin with: bos in T5Gemma 2, nothing in T5Gemma
  std::span<const int32_t> suffix_ids = {};  // what they end with
  AddedTokenList added_tokens = {};
  std::span<const std::string_view> merges = {};  // where the scores do not tell what joins first; see MergeTable
  bool is_placeholder = false;                    // the pieces stand in for a tokenizer that there is not
};

struct EncodeOptions {
  bool add_special_tokens = true;            // begin and end with what the vocabulary says
  bool parse_special = false;                // match control pieces (<bos>, <start_of_turn>, ...) in the text
  std::span<const int32_t> also_match = {};  // ids matched even without parse_special (image markers)
};

// BPE with byte fallback; text is taken as it is (no normalising, no prefix), but for spaces, which become U+2581.
// Immutable, so one Tokenizer serves any number of threads. Cannot be copied or moved: its parts refer to each other.
class Tokenizer {
 public:
  // Copies what it needs. Throws ModelFormatError, beginning with `where`, when the arrays are no vocabulary.
  Tokenizer(const Vocabulary& vocabulary, const std::string& where);
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Any bytes are a text: each byte that is not part of well-formed UTF-8 counts as U+FFFD. Added tokens are matched
  // before anything else, the longest from the left. Throws InvalidArgument for more than 512 MB, and for an id of
  // also_match outside the vocabulary; Unsupported for a placeholder.
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // A text cut at its special tokens: control pieces by id, and the text between, for which id is -1. Spaces of the
  // text may have become U+2581 where encode() would make nothing else of them. For valid UTF-8.
  struct Part {
    std::string text;
    int32_t id;
  };
  std::vector<Part> split_special(std::string_view text) const;

  // All control pieces.
  std::vector<std::string_view> special_pieces() const;

  // Always valid UTF-8; see StreamDecoder for the rules. Throws InvalidArgument for an id outside the vocabulary;
  // Unsupported for a placeholder.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  // Whether there are ids but no text, because the checkpoint had no tokenizer.
  bool is_placeholder() const { return is_placeholder_; }
  // Throws Unsupported for a placeholder, saying what to do.
  void require_text() const;

  int32_t vocab_size() const { return table_.size(); }
  int32_t bos_id() const { return bos_id_; }
  int32_t eos_id() const { return eos_id_; }
  int32_t unk_id() const { return unk_id_; }
  int32_t pad_id() const { return pad_id_; }
  // What add_special_tokens puts around a source.
  std::span<const int32_t> prefix_ids() const { return prefix_ids_; }
  std::span<const int32_t> suffix_ids() const { return suffix_ids_; }

  // The piece as the vocabulary has it, with U+2581 for spaces but in added tokens with rules. Ids outside the
  // vocabulary: InvalidArgument, here and below.
  std::string_view piece(int32_t id) const;
  std::optional<int32_t> find(std::string_view piece) const;

  // The byte that a byte piece (<0x0A>) stands for.
  std::optional<uint8_t> byte(int32_t id) const;
  // Control and unknown pieces: what encode() leaves alone without parse_special.
  bool is_control(int32_t id) const;
  // What skip_special_tokens skips: control pieces. Files without rules for added tokens have the placeholders of the
  // vocabulary (<unused7>, <mask>), which Hugging Face shows and T5Gemma 2's infilling answers with, among them: those
  // are not skipped.
  bool is_special(int32_t id) const;

 private:
  void read_bytes(const std::string& where);
  void check_id(int32_t id) const;
  std::vector<int32_t> check_ids(std::span<const int32_t> ids, const std::string& where) const;

  const PieceTable table_;
  const Bpe bpe_;
  const AddedTokens added_tokens_;
  const bool has_rules_;  // for added tokens
  std::array<int32_t, 256> byte_ids_;
  bool has_bytes_ = false;
  bool special_when_normalized_ = false;  // whether control pieces are matched where spaces are U+2581
  const bool is_placeholder_;
  const std::string where_;
  const int32_t bos_id_, eos_id_, unk_id_, pad_id_;
  const std::vector<int32_t> prefix_ids_, suffix_ids_;
};

}  // namespace t5g
