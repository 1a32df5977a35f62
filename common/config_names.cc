#include "common/config_names.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nearest.h"

namespace headrace {

std::vector<std::string> FieldNames(const google::protobuf::Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

std::vector<std::string> EnumValueNames(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return names;
}

std::string Suggestion(const std::string& wrong, const std::vector<std::string>& valid) {
  const std::vector<std::string> nearest = NearestNames(wrong, valid, 2);
  if (!nearest.empty()) return absl::StrCat("; did you mean ", absl::StrJoin(nearest, " or "), "?");
  return absl::StrCat("; there is ", absl::StrJoin(valid, ", "));
}

std::string UnknownFieldMessage(const google::protobuf::Descriptor& message, const std::string& wrong) {
  return absl::StrCat(message.name(), " has no field ", wrong, Suggestion(wrong, FieldNames(message)));
}

}  // namespace headrace
