// Names of fields and enum values, and sentences about those that a message or enum does not have.
//
// Thread-safe.
#ifndef HEADRACE_COMMON_CONFIG_NAMES_H_
#define HEADRACE_COMMON_CONFIG_NAMES_H_

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"

namespace headrace {

std::vector<std::string> FieldNames(const google::protobuf::Descriptor& message);

// Without the value that stands for none, X_UNSPECIFIED.
std::vector<std::string> EnumValueNames(const google::protobuf::EnumDescriptor& type);

// The field with the dotted path `path` below `root`, an element of a repeated one as name[index]; nullptr if there is
// none.
const google::protobuf::FieldDescriptor* FieldAt(const google::protobuf::Descriptor& root, const std::string& path);

// "ActorConfig has no field proceses; did you mean processes?"
std::string UnknownFieldMessage(const google::protobuf::Descriptor& message, const std::string& wrong);

// The same of a name that stood where only a group of fields can: before a {. Where no name is near, those of a oneof
// come first, of RunConfig the algorithms.
std::string UnknownGroupMessage(const google::protobuf::Descriptor& message, const std::string& wrong);

// "expected BLOCK or DROP_EPISODE, got "DROP""
std::string UnknownValueMessage(const std::vector<std::string>& valid, const std::string& wrong);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_NAMES_H_
