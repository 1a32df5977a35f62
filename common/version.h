// The version of this software, as metadata.json and headrace_build_info tell it.
#ifndef HEADRACE_COMMON_VERSION_H_
#define HEADRACE_COMMON_VERSION_H_

namespace headrace {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace headrace

#endif  // HEADRACE_COMMON_VERSION_H_
