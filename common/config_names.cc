#include "common/config_names.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/nearest.h"

namespace headrace {

std::vector<std::string> FieldNames(const google::protobuf::Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

std::vector<std::string> EnumValueNames(const google::protobuf::EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string& name = type.value(i)->name();
    if (!absl::EndsWith(name, "_UNSPECIFIED")) names.push_back(name);
  }
  return names;
}

const google::protobuf::FieldDescriptor* FieldAt(const google::protobuf::Descriptor& root, const std::string& path) {
  const google::protobuf::Descriptor* message = &root;
  const google::protobuf::FieldDescriptor* field = nullptr;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(path, '.'))) {
    field = message == nullptr ? nullptr : message->FindFieldByName(part.substr(0, part.find('[')));
    if (field == nullptr) return nullptr;
    message = field->message_type();
  }
  return field;
}

std::string UnknownFieldMessage(const google::protobuf::Descriptor& message, const std::string& wrong) {
  return absl::StrCat(message.name(), " has no field ", wrong, Suggestion(wrong, FieldNames(message)));
}

std::string UnknownGroupMessage(const google::protobuf::Descriptor& message, const std::string& wrong) {
  std::vector<std::string> names;
  for (const bool in_oneof : {true, false}) {
    for (int i = 0; i < message.field_count(); ++i) {
      const google::protobuf::FieldDescriptor& field = *message.field(i);
      if (field.message_type() == nullptr || (field.real_containing_oneof() != nullptr) != in_oneof) continue;
      names.push_back(field.name());
    }
  }
  return absl::StrCat(message.name(), " has no field ", wrong, Suggestion(wrong, names));
}

std::string UnknownValueMessage(const std::vector<std::string>& valid, const std::string& wrong) {
  return absl::StrCat("expected ", absl::StrJoin(valid, " or "), ", got \"", wrong, "\"");
}

}  // namespace headrace
