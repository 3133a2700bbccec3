// Words and arguments as one text.
#include "base/message.h"

#include <utility>

namespace t5g {

Argument to_give(std::string name, std::string value) { return {std::move(name), true, std::move(value)}; }

Message::Message(std::string text) { parts_.emplace_back(std::move(text)); }
Message::Message(const char* text) : Message(std::string(text)) {}
Message::Message(Argument argument) { parts_.emplace_back(std::move(argument)); }
Message::Message(const Message&) = default;
Message::Message(Message&&) noexcept = default;
Message& Message::operator=(const Message&) = default;
Message& Message::operator=(Message&&) noexcept = default;
Message::~Message() = default;

Message& Message::operator+=(const Message& more) {
  parts_.insert(parts_.end(), more.parts_.begin(), more.parts_.end());
  return *this;
}

Message operator+(Message left, const Message& right) { return std::move(left += right); }
Message operator+(Message left, const Argument& right) { return std::move(left += right); }
Message operator+(Message left, const std::string& right) { return std::move(left += right); }
Message operator+(Message left, const char* right) { return std::move(left += right); }

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
