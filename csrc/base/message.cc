// Words and arguments as one text.
#include "base/message.h"

namespace t5g {

std::string Message::text() const {
  std::string text;
  for (const Part& part : parts_) {
    if (const auto* words = std::get_if<std::string>(&part)) {
      text += *words;
    } else {
      const auto& argument = std::get<Argument>(part);
      text += argument.name + (argument.value.empty() ? "" : " = \"" + argument.value + "\"");
    }
  }
  return text;
}

}  // namespace t5g
