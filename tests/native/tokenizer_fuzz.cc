// Random vocabularies and texts: the tokenizer against a merge loop written from the definition, and against damage.
// Usage: tokenizer_fuzz [ROUNDS]
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "checks.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace {

using Random = std::mt19937;

uint32_t below(Random& random, size_t n) { return static_cast<uint32_t>(random() % n); }

// Few characters, so that pieces overlap and texts are full of them. One, the last, is in no vocabulary.
const std::vector<std::string> kCharacters = {"a", "b", "\xC3\xA9", "\xE2\x96\x81", "\xF0\x9F\x98\x80", "<", ">", "z"};

std::string random_text(Random& random, size_t n_characters, size_t longest) {
  std::string text;
  for (size_t n = below(random, longest + 1); n > 0; --n) text += kCharacters[below(random, n_characters)];
  return text;
}

// Arrays as a file would have them. Ids 0 to 3 are pad, eos, bos, unk.
struct Arrays {
  std::vector<std::string> pieces = {"<pad>", "<eos>", "<bos>", "<unk>"};
  std::vector<float> scores = {0, 0, 0, 0};
  std::vector<int32_t> types = {3, 3, 3, 2};

  explicit Arrays(Random& random) {
    const bool has_bytes = below(random, 4) > 0;
    for (int byte = 0; has_bytes && byte < 256; ++byte) {
      constexpr std::string_view kHex = "0123456789ABCDEF";
      add({'<', '0', 'x', kHex[byte / 16], kHex[byte % 16], '>'}, 0, 6);
    }
    const uint32_t n_scores = below(random, 2) == 0 ? 3 : 1000;  // many equal ones, or few
    for (uint32_t n = below(random, 60); n > 0; --n) {
      const std::string piece = random_text(random, kCharacters.size() - 1, 6);
      const int32_t types_of_text[] = {1, 1, 1, 1, 1, 1, 3, 4, 5};
      if (!piece.empty()) add(piece, static_cast<float>(below(random, n_scores)) - 1, types_of_text[below(random, 9)]);
    }
  }

  void add(const std::string& piece, float score, int32_t type) {
    if (std::find(pieces.begin(), pieces.end(), piece) != pieces.end()) return;
    pieces.push_back(piece);
    scores.push_back(score);
    types.push_back(type);
  }

  std::vector<std::string_view> views() const { return {pieces.begin(), pieces.end()}; }
};

t5g::Vocabulary vocabulary(const Arrays& arrays, const std::vector<std::string_view>& views) {
  return {.pieces = views,
          .scores = arrays.scores,
          .types = arrays.types,
          .bos_id = 2,
          .eos_id = 1,
          .unk_id = 3,
          .pad_id = 0};
}

// By the definition: special pieces first, the longest from the left; then, as long as there is one, the pair of the
// best score, the leftmost of equal ones; then bytes.
class Reference {
 public:
  explicit Reference(const Arrays& arrays) : arrays_(arrays) {}

  std::vector<int32_t> encode(std::string_view text, bool parse_special) const {
    std::vector<int32_t> ids;
    std::vector<std::string> run;
    while (!text.empty()) {
      const int32_t special = longest_special(text, parse_special);
      if (special < 0) {
        run.emplace_back(text.substr(0, t5g::utf8_character_size(text)));
        text.remove_prefix(run.back().size());
        continue;
      }
      merge(run, ids);
      ids.push_back(special);
      text.remove_prefix(piece(special).size());
    }
    merge(run, ids);
    return ids;
  }

 private:
  const std::string& piece(int32_t id) const { return arrays_.pieces[static_cast<size_t>(id)]; }
  int32_t type(int32_t id) const { return arrays_.types[static_cast<size_t>(id)]; }
  float score(int32_t id) const { return arrays_.scores[static_cast<size_t>(id)]; }

  int32_t find(const std::string& text, int32_t wanted_type) const {
    for (int32_t id = 0; id < static_cast<int32_t>(arrays_.pieces.size()); ++id) {
      if (piece(id) == text && type(id) == wanted_type) return id;
    }
    return -1;
  }

  int32_t longest_special(std::string_view text, bool parse_special) const {
    int32_t longest = -1;
    for (int32_t id = 0; id < static_cast<int32_t>(arrays_.pieces.size()); ++id) {
      const bool allowed = type(id) == 4 || (parse_special && (type(id) == 3 || type(id) == 2));
      if (allowed && text.starts_with(piece(id)) && (longest < 0 || piece(id).size() > piece(longest).size())) {
        longest = id;
      }
    }
    return longest;
  }

  // Empties the run.
  void merge(std::vector<std::string>& run, std::vector<int32_t>& ids) const {
    for (;;) {
      size_t best = run.size();
      float best_score = 0;
      for (size_t i = 0; i + 1 < run.size(); ++i) {
        const int32_t id = find(run[i] + run[i + 1], 1);
        if (id >= 0 && (best == run.size() || score(id) > best_score)) {
          best = i;
          best_score = score(id);
        }
      }
      if (best == run.size()) break;
      run[best] += run[best + 1];
      run.erase(run.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    bool after_unknown = false;
    for (const std::string& symbol : run) {
      const int32_t id = find(symbol, 1);
      const bool has_bytes = arrays_.pieces.size() > 4 && arrays_.types[4] == 6;
      if (id >= 0) {
        ids.push_back(id);
      } else if (has_bytes) {
        for (const char c : symbol) ids.push_back(4 + static_cast<uint8_t>(c));
      } else if (!after_unknown) {
        ids.push_back(3);
      }
      after_unknown = id < 0;
    }
    run.clear();
  }

  const Arrays& arrays_;
};

void check_decoding(const t5g::Tokenizer& tokenizer, std::span<const int32_t> ids, bool skip) {
  t5g::StreamDecoder decoder(tokenizer, skip);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string part = decoder.push(id);
    T5G_CHECK(t5g::is_utf8(part));
    streamed += part;
  }
  streamed += decoder.finish();
  T5G_CHECK(t5g::is_utf8(streamed));
  T5G_CHECK(streamed == tokenizer.decode(ids, skip));
}

void check_against_the_definition(Random& random) {
  const Arrays arrays(random);
  const auto views = arrays.views();
  const t5g::Tokenizer tokenizer(vocabulary(arrays, views), "fuzz");
  const Reference reference(arrays);
  for (int i = 0; i < 20; ++i) {
    const std::string text = random_text(random, kCharacters.size(), 40);
    const bool parse_special = below(random, 2) == 1;
    const auto ids = tokenizer.encode(text, {.parse_special = parse_special});
    T5G_CHECK(ids == reference.encode(text, parse_special));
    check_decoding(tokenizer, ids, parse_special);
  }
}

// Any rules for what is no byte.
std::vector<t5g::AddedToken> random_rules(Random& random, const Arrays& arrays) {
  std::vector<t5g::AddedToken> rules;
  for (int32_t id = 0; id < static_cast<int32_t>(arrays.pieces.size()); ++id) {
    const bool is_byte = arrays.types[static_cast<size_t>(id)] == 6;
    if (!is_byte && below(random, 3) == 0) rules.push_back({id, below(random, t5g::kAllAddedTokenFlags + 1)});
  }
  return rules;
}

void check_any_bytes(Random& random) {
  const Arrays arrays(random);
  const auto views = arrays.views();
  t5g::Vocabulary changed = vocabulary(arrays, views);
  const auto rules = random_rules(random, arrays);
  if (below(random, 2) == 1) changed.added_tokens = rules;
  const t5g::Tokenizer tokenizer(changed, "fuzz");
  std::string text = random_text(random, kCharacters.size(), 40);
  for (char& c : text) {
    if (below(random, 8) == 0) c = static_cast<char>(random());
  }
  const auto ids = tokenizer.encode(text, {.parse_special = below(random, 2) == 1});
  check_decoding(tokenizer, ids, false);
  std::vector<int32_t> any(below(random, 40));
  for (int32_t& id : any) id = static_cast<int32_t>(below(random, arrays.pieces.size()));
  check_decoding(tokenizer, any, below(random, 2) == 1);
}

// Whatever is wrong with the arrays, it is refused as such or makes a tokenizer that works.
void check_damaged(Random& random) {
  Arrays arrays(random);
  const size_t victim = below(random, arrays.pieces.size());
  const float odd_scores[] = {NAN, INFINITY, -INFINITY, -0.0F, 3e38F, -1e-45F};
  switch (below(random, 5)) {
    case 0:
      arrays.pieces[victim] = std::string(below(random, 6000), static_cast<char>(random()));
      break;
    case 1:
      arrays.scores[victim] = odd_scores[below(random, 6)];
      break;
    case 2:
      arrays.types[victim] = static_cast<int32_t>(below(random, 9)) - 1;
      break;
    case 3:
      arrays.pieces[victim] = arrays.pieces[below(random, arrays.pieces.size())];
      break;
    default:
      arrays.types.resize(below(random, 2 * arrays.types.size()), 1);
      break;
  }
  const auto views = arrays.views();
  t5g::Vocabulary damaged = vocabulary(arrays, views);
  if (below(random, 8) == 0) damaged.unk_id = static_cast<int32_t>(random());
  try {
    const t5g::Tokenizer tokenizer(damaged, "fuzz");
    const std::string text = random_text(random, kCharacters.size(), 40);
    check_decoding(tokenizer, tokenizer.encode(text, {.parse_special = true}), false);
  } catch (const t5g::ModelFormatError& error) {
    T5G_CHECK(std::string_view(error.what()).starts_with("fuzz: "));
    T5G_CHECK(t5g::is_utf8(error.what()));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 1000;
  Random random(1);  // one seed: a failure is a failure again
  for (int i = 0; i < rounds; ++i) {
    check_against_the_definition(random);
    check_any_bytes(random);
    check_damaged(random);
  }
  std::printf("tokenizer_fuzz: %d rounds\n", rounds);
  return 0;
}
