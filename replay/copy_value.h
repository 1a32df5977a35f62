// Copies one value of a column. Most columns are one number: a copy of constant size is an instruction, another one a
// call.
#ifndef HEADRACE_REPLAY_COPY_VALUE_H_
#define HEADRACE_REPLAY_COPY_VALUE_H_

#include <cstddef>
#include <cstring>

namespace headrace {

inline void CopyValue(std::byte* target, const std::byte* source, size_t bytes) {
  switch (bytes) {
    case 1:
      *target = *source;
      break;
    case 4:
      std::memcpy(target, source, 4);
      break;
    case 8:
      std::memcpy(target, source, 8);
      break;
    default:
      std::memcpy(target, source, bytes);
  }
}

}  // namespace headrace

#endif  // HEADRACE_REPLAY_COPY_VALUE_H_
