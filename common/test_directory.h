// A directory of its own for a test, empty at first, removed with it.
#ifndef HEADRACE_COMMON_TEST_DIRECTORY_H_
#define HEADRACE_COMMON_TEST_DIRECTORY_H_

#include <string>

namespace headrace {

class TestDirectory {
 public:
  TestDirectory();
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  ~TestDirectory();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace headrace

#endif  // HEADRACE_COMMON_TEST_DIRECTORY_H_
