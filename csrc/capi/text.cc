// Text to tokens and back. The tokenizer outlives the model's being closed.
#include <string>
#include <vector>

#include "capi/handles.h"
#include "text/chat.h"

namespace t5g::capi {
namespace {

constexpr char kTemplateKey[] = "tokenizer.chat_template";

// Whether the file's chat template begins with bos; it is the one that chat_prompt() follows, or this throws.
bool template_begins_with_bos(const t5g_model& model) {
  return known(model, [](const Model& it) {
    const auto text = it.file().find_string(kTemplateKey);
    const std::string& name = it.file().name();
    if (!text)
      throw Unsupported(name +
                        ": has no chat template, so it was not trained on conversations. Give the text as it is.");
    if (const auto with_bos = known_chat_template(*text)) return *with_bos;
    throw Unsupported(name + ": its chat template is not Gemma's own. Render it yourself, from the metadata " +
                      kTemplateKey + ", or convert the model with another one.");
  });
}

std::vector<ChatMessage> messages_argument(const t5g_chat_message* messages, size_t n_messages) {
  check_items(n_messages, "messages");
  if (n_messages > 0) required(messages, "messages");
  std::vector<ChatMessage> copied;
  for (size_t i = 0; i < n_messages; ++i) {
    const std::string name = "messages[" + std::to_string(i) + "]";
    const std::string role_name = name + ".role", content_name = name + ".content";
    copied.push_back({std::string(text_argument(messages[i].role, T5G_TO_ZERO, role_name.c_str())),
                      std::string(text_argument(messages[i].content, T5G_TO_ZERO, content_name.c_str()))});
  }
  return copied;
}

}  // namespace
}  // namespace t5g::capi

extern "C" {

using namespace t5g;
using namespace t5g::capi;

t5g_status t5g_tokenize(const t5g_model* model, const char* text, size_t size, int32_t add_special_tokens,
                        int32_t parse_special, int32_t** ids, size_t* n_ids) {
  return guarded([&] {
    required(ids, "ids") = nullptr;
    required(n_ids, "n_ids") = 0;
    const Tokenizer& tokenizer = *checked(model, "model").tokenizer;
    const std::string_view given = text_argument(text, size, "text");
    give_ids(tokenizer.encode(given, {add_special_tokens != 0, parse_special != 0}), ids, n_ids);
  });
}

t5g_status t5g_detokenize(const t5g_model* model, const int32_t* ids, size_t n_ids, int32_t skip_special_tokens,
                          char** text, size_t* size) {
  return guarded([&] {
    required(text, "text") = nullptr;
    const Tokenizer& tokenizer = *checked(model, "model").tokenizer;
    const std::string decoded = tokenizer.decode(ids_argument(ids, n_ids, "ids"), skip_special_tokens != 0);
    *text = static_cast<char*>(copy_out(decoded.data(), decoded.size()));
    if (size != nullptr) *size = decoded.size();
  });
}

t5g_status t5g_apply_chat_template(const t5g_model* model, const t5g_chat_message* messages, size_t n_messages,
                                   int32_t** ids, size_t* n_ids) {
  return guarded([&] {
    required(ids, "ids") = nullptr;
    required(n_ids, "n_ids") = 0;
    const t5g_model& it = checked(model, "model");
    const std::vector<ChatMessage> copied = messages_argument(messages, n_messages);
    const bool with_bos = template_begins_with_bos(it);
    std::vector<int32_t> prompt = chat_prompt(*it.tokenizer, copied);
    if (with_bos) prompt.insert(prompt.begin(), it.tokenizer->bos_id());
    give_ids(prompt, ids, n_ids);
  });
}

}  // extern "C"
