#include "common/fuzz_files.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/check.h"
#include "common/file.h"

namespace headrace {
namespace {

struct Directory {
  Directory() : path(std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp") {
    path += "/headrace_fuzz.XXXXXX";
    HEADRACE_CHECK(::mkdtemp(path.data()) != nullptr);
  }
  ~Directory() { RemoveTree(path).IgnoreError(); }
  std::string path;
};

}  // namespace

const std::string& FuzzDirectory() {
  static const Directory directory;
  return directory.path;
}

void WriteFuzzFile(const std::string& path, std::string_view contents) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << contents;
  HEADRACE_CHECK(file.flush().good());
}

}  // namespace headrace

// In the place of the C library's.
extern "C" int fsync(int) { return 0; }
