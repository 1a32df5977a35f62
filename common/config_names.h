// Sentences about names that a message or enum does not have.
//
// Thread-safe.
#ifndef HEADRACE_COMMON_CONFIG_NAMES_H_
#define HEADRACE_COMMON_CONFIG_NAMES_H_

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"

namespace headrace {

std::vector<std::string> FieldNames(const google::protobuf::Descriptor& message);
std::vector<std::string> EnumValueNames(const google::protobuf::EnumDescriptor& type);

// "; did you mean X or Y?" from the valid names nearest to `wrong`, or the whole list where none is near.
std::string Suggestion(const std::string& wrong, const std::vector<std::string>& valid);

// "ActorConfig has no field proceses; did you mean processes?"
std::string UnknownFieldMessage(const google::protobuf::Descriptor& message, const std::string& wrong);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_NAMES_H_
