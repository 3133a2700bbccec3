// Escapes what JSON wants escaped, and nothing else.
#include "capi/json.h"

#include <cstdio>

namespace t5g::capi {

std::string quoted(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  // A program may have set a locale with another decimal point, of one byte or more.
  std::string out;
  for (const char c : std::string_view(text)) {
    const bool is_json = (c >= '0' && c <= '9') || c == '-' || c == '+' || c == 'e';
    if (is_json || !out.ends_with('.')) out += is_json ? c : '.';
  }
  return out;
}

}  // namespace t5g::capi
