// What a configuration says that is allowed and hardly meant.
#ifndef HEADRACE_TOOLS_WARNINGS_H_
#define HEADRACE_TOOLS_WARNINGS_H_

#include <string>
#include <vector>

#include "algorithm/algorithm.h"
#include "proto/config.pb.h"
#include "tools/estimate.h"

namespace headrace {

// Sentences that begin with the field they are about.
std::vector<std::string> FindWarnings(const v1::RunConfig& config, const Experience& experience,
                                      const Estimate& estimate);

}  // namespace headrace

#endif  // HEADRACE_TOOLS_WARNINGS_H_
