// Files for fuzz tests: a program that has this in it never waits for the disk, so that it can try many.
#ifndef HEADRACE_COMMON_FUZZ_FILES_H_
#define HEADRACE_COMMON_FUZZ_FILES_H_

#include <string>
#include <string_view>

namespace headrace {

// A directory of this process, empty at first, in memory where there is such; removed at its end.
const std::string& FuzzDirectory();

void WriteFuzzFile(const std::string& path, std::string_view contents);

}  // namespace headrace

#endif  // HEADRACE_COMMON_FUZZ_FILES_H_
