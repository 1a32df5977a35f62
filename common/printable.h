// Text from elsewhere, such as an exception's message, that goes into logs and messages.
//
// Thread-safe: without state.
#ifndef HEADRACE_COMMON_PRINTABLE_H_
#define HEADRACE_COMMON_PRINTABLE_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace headrace {

// The text in UTF-8, since Protocol Buffers take no other: unchanged where it is, otherwise with \xNN in place of each
// byte that is not part of it. What is longer than `most` bytes is cut off, and says so.
std::string Printable(std::string_view text, size_t most = 1000);

}  // namespace headrace

#endif  // HEADRACE_COMMON_PRINTABLE_H_
