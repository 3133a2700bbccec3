// Each stretch of text between two markers is encoded as one, as the reference does with the rendered template.
#include "text/chat.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "base/printable.h"

namespace t5g {
namespace {

// What Python's str.strip(), and so the template's `trim`, drops.
constexpr std::array<std::string_view, 29> kWhiteSpace = {" ",
                                                          "\t",
                                                          "\n",
                                                          "\v",
                                                          "\f",
                                                          "\r",
                                                          "\x1C",
                                                          "\x1D",
                                                          "\x1E",
                                                          "\x1F",
                                                          "\xC2\x85",
                                                          "\xC2\xA0",
                                                          "\xE1\x9A\x80",
                                                          "\xE2\x80\x80",
                                                          "\xE2\x80\x81",
                                                          "\xE2\x80\x82",
                                                          "\xE2\x80\x83",
                                                          "\xE2\x80\x84",
                                                          "\xE2\x80\x85",
                                                          "\xE2\x80\x86",
                                                          "\xE2\x80\x87",
                                                          "\xE2\x80\x88",
                                                          "\xE2\x80\x89",
                                                          "\xE2\x80\x8A",
                                                          "\xE2\x80\xA8",
                                                          "\xE2\x80\xA9",
                                                          "\xE2\x80\xAF",
                                                          "\xE2\x81\x9F",
                                                          "\xE3\x80\x80"};

std::string_view trim(std::string_view text) {
  const auto drop = [&](auto&& is_at_edge, auto&& remove) {
    for (;;) {
      const auto space = std::find_if(kWhiteSpace.begin(), kWhiteSpace.end(), is_at_edge);
      if (space == kWhiteSpace.end()) return;
      remove(space->size());
    }
  };
  drop([&](std::string_view s) { return text.starts_with(s); }, [&](size_t n) { text.remove_prefix(n); });
  drop([&](std::string_view s) { return text.ends_with(s); }, [&](size_t n) { text.remove_suffix(n); });
  return text;
}

// As the template spells it.
std::string_view turn_name(std::span<const ChatMessage> messages, size_t i) {
  const std::string& role = messages[i].role;
  const bool is_model = role == "assistant" || role == "model";
  if (!is_model && role != "user") {
    throw InvalidArgument("message " + std::to_string(i) + " has the role '" + printable(role, 40) +
                          "'; the model knows 'user' and 'assistant'. Put instructions into the first user message.");
  }
  if (is_model != (i % 2 == 1)) {
    throw InvalidArgument("message " + std::to_string(i) + " has the role '" + printable(role, 40) +
                          "'; roles must alternate user, assistant, user, ...");
  }
  return is_model ? "model" : "user";
}

int32_t marker(const Tokenizer& tokenizer, std::string_view piece) {
  const auto id = tokenizer.find(piece);
  // A marker that is not a control piece would be matched in contents.
  if (!id || !tokenizer.is_control(*id)) {
    throw InvalidArgument("this model's vocabulary has no control piece " + std::string(piece) +
                          ": it was not made for chat.");
  }
  return *id;
}

void append(const Tokenizer& tokenizer, std::string_view text, std::vector<int32_t>& ids) {
  const std::vector<int32_t> encoded = tokenizer.encode(text, {.add_special_tokens = false});
  ids.insert(ids.end(), encoded.begin(), encoded.end());
}

}  // namespace

std::vector<int32_t> chat_prompt(const Tokenizer& tokenizer, std::span<const ChatMessage> messages) {
  if (messages.empty()) throw InvalidArgument("a chat needs at least one message.");
  const int32_t start_of_turn = marker(tokenizer, "<start_of_turn>");
  const int32_t end_of_turn = marker(tokenizer, "<end_of_turn>");
  std::vector<int32_t> ids;
  for (size_t i = 0; i < messages.size(); ++i) {
    std::string turn(turn_name(messages, i));
    turn += '\n';
    turn += trim(messages[i].content);
    ids.push_back(start_of_turn);
    append(tokenizer, turn, ids);
    ids.push_back(end_of_turn);
    append(tokenizer, "\n", ids);
  }
  ids.push_back(start_of_turn);
  append(tokenizer, "model\n", ids);
  return ids;
}

std::optional<bool> known_chat_template(std::string_view text) {
  constexpr std::string_view kBos = "{{ bos_token }}";
  constexpr std::string_view kGemma =
      "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
      "{% for message in messages %}"
      "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
      "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
      "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
      "{% else %}{% set role = message['role'] %}{% endif %}"
      "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}";
  std::string usual(trim(text));
  std::replace(usual.begin(), usual.end(), '"', '\'');
  for (size_t at = 0; (at = usual.find("\\n", at)) != std::string::npos;) usual.replace(at, 2, "\n");
  const bool with_bos = usual.starts_with(kBos);
  if (std::string_view(usual).substr(with_bos ? kBos.size() : 0) != kGemma) return std::nullopt;
  return with_bos;
}

}  // namespace t5g
