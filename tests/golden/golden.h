// Reads the golden numbers beside this file.
#ifndef HEADRACE_TESTS_GOLDEN_GOLDEN_H_
#define HEADRACE_TESTS_GOLDEN_GOLDEN_H_

#include <map>
#include <string>

#include "ATen/core/Tensor.h"

namespace headrace {

// Tensors in double precision by name; `path` is relative to the workspace. Aborts if the file is not what it should
// be.
std::map<std::string, at::Tensor> ReadGolden(const std::string& path);

}  // namespace headrace

#endif  // HEADRACE_TESTS_GOLDEN_GOLDEN_H_
