// CRC-32C (Castagnoli), the checksum of TFRecord files.
//
// Thread-safe: a pure function.
#ifndef HEADRACE_COMMON_CRC32C_H_
#define HEADRACE_COMMON_CRC32C_H_

#include <cstdint>
#include <string_view>

namespace headrace {

uint32_t Crc32c(std::string_view bytes);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CRC32C_H_
