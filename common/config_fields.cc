#include "common/config_fields.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/check.h"
#include "google/protobuf/text_format.h"
#include "proto/field_options.pb.h"

namespace headrace {
namespace {

namespace pb = ::google::protobuf;
using Field = pb::FieldDescriptor;

bool IsGroup(const Field& field) { return field.cpp_type() == Field::CPPTYPE_MESSAGE && !field.is_repeated(); }

void SetDefaultValue(const Field& field, pb::Message* message) {
  const pb::Reflection& reflection = *message->GetReflection();
  switch (field.cpp_type()) {
    case Field::CPPTYPE_INT32:
      return reflection.SetInt32(message, &field, field.default_value_int32());
    case Field::CPPTYPE_INT64:
      return reflection.SetInt64(message, &field, field.default_value_int64());
    case Field::CPPTYPE_UINT32:
      return reflection.SetUInt32(message, &field, field.default_value_uint32());
    case Field::CPPTYPE_UINT64:
      return reflection.SetUInt64(message, &field, field.default_value_uint64());
    case Field::CPPTYPE_DOUBLE:
      return reflection.SetDouble(message, &field, field.default_value_double());
    case Field::CPPTYPE_FLOAT:
      return reflection.SetFloat(message, &field, field.default_value_float());
    case Field::CPPTYPE_BOOL:
      return reflection.SetBool(message, &field, field.default_value_bool());
    case Field::CPPTYPE_ENUM:
      return reflection.SetEnum(message, &field, field.default_value_enum());
    case Field::CPPTYPE_STRING:
      return reflection.SetString(message, &field, field.default_value_string());
    case Field::CPPTYPE_MESSAGE:
      return;  // has no default
  }
}

void SetDefaultElements(const Field& field, pb::Message* message) {
  const std::string& elements = field.options().GetExtension(v1::elements);
  const std::string text = absl::StrCat(field.name(), ": [", elements, "]");
  HEADRACE_CHECK(pb::TextFormat::MergeFromString(text, message));
}

// The value of a field that is not a group, all elements of a repeated one.
std::string ValueText(const pb::Message& message, const Field& field) {
  std::string text;
  if (!field.is_repeated()) {
    if (!message.GetReflection()->HasField(message, &field)) return "nothing";
    pb::TextFormat::PrintFieldValueToString(message, &field, -1, &text);
    return text;
  }
  std::vector<std::string> elements;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    pb::TextFormat::PrintFieldValueToString(message, &field, i, &text);
    elements.push_back(text);
  }
  return absl::StrCat("[", absl::StrJoin(elements, ", "), "]");
}

std::string MemberName(const pb::Message& message, const pb::OneofDescriptor& oneof) {
  const Field* used = message.GetReflection()->GetOneofFieldDescriptor(message, &oneof);
  return used == nullptr ? "nothing" : used->name();
}

void Compare(const pb::Message& before, const pb::Message& after, const std::string& prefix, bool resumable,
             std::vector<FieldDifference>* differences) {
  const pb::Descriptor& type = *before.GetDescriptor();
  for (int i = 0; i < type.real_oneof_decl_count(); ++i) {
    const pb::OneofDescriptor& oneof = *type.oneof_decl(i);
    const std::string was = MemberName(before, oneof);
    const std::string is = MemberName(after, oneof);
    if (was != is) differences->push_back({absl::StrCat(prefix, oneof.name()), was, is, resumable});
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const Field& field = *type.field(i);
    if (field.real_containing_oneof() != nullptr &&
        before.GetReflection()->HasField(before, &field) != after.GetReflection()->HasField(after, &field)) {
      continue;  // a difference of the oneof
    }
    const std::string path = absl::StrCat(prefix, field.name());
    const bool field_resumable = resumable || field.options().GetExtension(v1::resume);
    if (IsGroup(field)) {
      Compare(before.GetReflection()->GetMessage(before, &field), after.GetReflection()->GetMessage(after, &field),
              path + ".", field_resumable, differences);
      continue;
    }
    std::string was = ValueText(before, field);
    std::string is = ValueText(after, field);
    if (was != is) differences->push_back({path, std::move(was), std::move(is), field_resumable});
  }
}

}  // namespace

void SetDefaults(pb::Message* message) {
  const pb::Descriptor& type = *message->GetDescriptor();
  const pb::Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const Field& field = *type.field(i);
    if (field.is_repeated()) {
      if (reflection.FieldSize(*message, &field) == 0) SetDefaultElements(field, message);
      continue;
    }
    const bool set = reflection.HasField(*message, &field);
    if (field.real_containing_oneof() != nullptr && !set) continue;
    if (IsGroup(field)) {
      SetDefaults(reflection.MutableMessage(message, &field));
    } else if (!set && field.has_default_value()) {
      SetDefaultValue(field, message);
    }
  }
}

std::vector<FieldDifference> FindDifferences(const pb::Message& before, const pb::Message& after) {
  std::vector<FieldDifference> differences;
  Compare(before, after, "", false, &differences);
  return differences;
}

}  // namespace headrace
