#include "common/printable.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace headrace {
namespace {

// Bytes of the character that the text begins with; 0: it begins with none (RFC 3629).
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](size_t count, unsigned second_from, unsigned second_to) -> size_t {
    if (text.size() < count || byte(1) < second_from || byte(1) > second_to) return 0;
    for (size_t i = 2; i < count; ++i) {
      if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
    }
    return count;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  if (first < 0xe0) return continues(2, 0x80, 0xbf);
  if (first < 0xf0) return continues(3, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf);
  return continues(4, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
}

}  // namespace

std::string Printable(std::string_view text, size_t most) {
  std::string printable;
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    const std::string next = bytes > 0 ? std::string(text.substr(0, bytes))
                                       : absl::StrFormat("\\x%02x", static_cast<unsigned char>(text[0]));
    if (printable.size() + next.size() > most) return printable + " (cut off)";
    printable += next;
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return printable;
}

}  // namespace headrace
