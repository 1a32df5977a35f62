// What runs, as metadata.json and headrace_build_info tell it.
#ifndef HEADRACE_COMMON_VERSION_H_
#define HEADRACE_COMMON_VERSION_H_

#include <string>

namespace headrace {

inline constexpr char kVersion[] = "0.1.0";

// Of the sources, as --revision says, or a file that lies with the binaries; "not known" if neither does.
std::string Revision();

}  // namespace headrace

#endif  // HEADRACE_COMMON_VERSION_H_
