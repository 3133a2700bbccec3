// What an error says, in parts: the arguments that it names are apart from the words around them, so that every
// language spells them as its callers write them, and nobody has to find them in a finished sentence.
#pragma once

#include <string>
#include <variant>
#include <vector>

namespace t5g {

// An argument of a call, a field of an option struct.
struct Argument {
  std::string name;         // "truncation", or a place in one: "sources[3]"
  bool is_to_give = false;  // advised, where Python writes `truncation=`
  std::string value = {};   // ... with this text for a value: `device='cpu'`
};

Argument to_give(std::string name, std::string value = {});

// Errors are made at hundreds of places, so nothing of this is inlined there: it took 70 KB of a wheel.
class Message {
 public:
  using Part = std::variant<std::string, Argument>;

  // Implicit, so that a message is a sum of texts and arguments.
  Message(std::string text);
  Message(const char* text);
  Message(Argument argument);
  Message(const Message&);
  Message(Message&&) noexcept;
  Message& operator=(const Message&);
  Message& operator=(Message&&) noexcept;
  ~Message();

  Message& operator+=(const Message& more);

  const std::vector<Part>& parts() const { return parts_; }

  // Arguments by their names, those to give a text as in C: `truncation`, `device = "cpu"`.
  std::string text() const;

 private:
  std::vector<Part> parts_;
};

Message operator+(Message left, const Message& right);
Message operator+(Message left, const Argument& right);
Message operator+(Message left, const std::string& right);
Message operator+(Message left, const char* right);

}  // namespace t5g
