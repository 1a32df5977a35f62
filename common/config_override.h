// Overrides of single fields: path.to.field=value, as --set takes them.
//
//   ApplyOverride("actor.processes=4", &config);
//   ApplyOverride("replay.capacity=1e6", &config);
//   ApplyOverride("sac.hidden=64,64", &config);  // a repeated field: the list replaces what was there
//   ApplyOverride("stop.score=", &config);       // nothing: the field or group goes back to its default
//
// Blanks around field and value do not count. Strings stand without quotes, enums by name, booleans as true or false.
// Messages on the way are created. The fields of one oneof exclude each other: an override below another member than
// the one in use is refused.
//
// Thread-safe, but for one message changed by two threads.
#ifndef HEADRACE_COMMON_CONFIG_OVERRIDE_H_
#define HEADRACE_COMMON_CONFIG_OVERRIDE_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace headrace {

// INVALID_ARGUMENT, with *message unchanged: no such field (the part that is unknown, and the nearest names), a value
// of the wrong type (expected and got), or a field of another oneof member.
absl::Status ApplyOverride(const std::string& override, google::protobuf::Message* message);

// The path of the field that an override names: what stands before the equals sign, without blanks around it.
std::string OverriddenField(const std::string& override);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_OVERRIDE_H_
