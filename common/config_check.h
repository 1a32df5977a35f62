// What must hold for a configuration beyond names and types.
//
//   for (const ConfigViolation& v : FindRangeViolations(config)) Print(v.path, v.text);
//
// Thread-safe: pure functions.
#ifndef HEADRACE_COMMON_CONFIG_CHECK_H_
#define HEADRACE_COMMON_CONFIG_CHECK_H_

#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "proto/config.pb.h"

namespace headrace {

struct ConfigViolation {
  std::string path;  // dotted, of the field to change; an element of a repeated one is name[index]
  std::string text;  // what is wrong with it
};

// Numbers outside of the schema's (min), (max) and (above), and numbers that are not finite, in all fields that are
// set.
std::vector<ConfigViolation> FindRangeViolations(const google::protobuf::Message& message);

// What a run needs whatever its environment and algorithm: that they are named, an end, and for a deterministic run
// nothing that happens side by side.
std::vector<ConfigViolation> FindInconsistencies(const v1::RunConfig& config);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_CHECK_H_
