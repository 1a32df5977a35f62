#include "common/test_directory.h"

#include <cstdlib>

#include "common/check.h"
#include "common/file.h"
#include "gtest/gtest.h"

namespace headrace {

TestDirectory::TestDirectory() : path_(::testing::TempDir() + "/test.XXXXXX") {
  HEADRACE_CHECK(::mkdtemp(path_.data()) != nullptr);
}

TestDirectory::~TestDirectory() { EXPECT_TRUE(RemoveTree(path_).ok()); }

}  // namespace headrace
