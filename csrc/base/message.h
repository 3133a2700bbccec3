// What an error says, in parts: the arguments that it names are apart from the words around them, so that every
// language spells them as its callers write them, and nobody has to find them in a finished sentence.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace t5g {

// An argument of a call, a field of an option struct.
struct Argument {
  std::string name;         // "truncation", or a place in one: "sources[3]"
  bool is_to_give = false;  // advised, where Python writes `truncation=`
  std::string value = {};   // ... with this text for a value: `device='cpu'`
};

inline Argument to_give(std::string name, std::string value = {}) { return {std::move(name), true, std::move(value)}; }

class Message {
 public:
  using Part = std::variant<std::string, Argument>;

  // Implicit, so that a message is a sum of texts and arguments.
  Message(std::string text) { parts_.emplace_back(std::move(text)); }
  Message(const char* text) : Message(std::string(text)) {}
  Message(Argument argument) { parts_.emplace_back(std::move(argument)); }

  Message& operator+=(const Message& more) {
    parts_.insert(parts_.end(), more.parts_.begin(), more.parts_.end());
    return *this;
  }

  const std::vector<Part>& parts() const { return parts_; }

  // Arguments by their names, those to give a text as in C: `truncation`, `device = "cpu"`.
  std::string text() const;

 private:
  std::vector<Part> parts_;
};

inline Message operator+(Message left, const Message& right) {
  left += right;
  return left;
}

}  // namespace t5g
