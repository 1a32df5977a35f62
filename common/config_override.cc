#include "common/config_override.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/config_names.h"
#include "common/status_macros.h"
#include "google/protobuf/descriptor.h"

namespace headrace {
namespace {

namespace pb = ::google::protobuf;
using Field = pb::FieldDescriptor;

absl::Status Expected(absl::string_view what, absl::string_view value) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", what, ", got \"", value, "\""));
}

// 1e9 and 2.5e6 written out; anything else, and numbers of which a double may have lost a digit, unchanged.
std::string WithoutExponent(absl::string_view value) {
  constexpr double kExact = 1LL << 53;
  double number;
  const bool is_whole = value.find_first_of("eE") != value.npos && absl::SimpleAtod(value, &number) &&
                        std::abs(number) <= kExact && number == std::trunc(number);
  return is_whole ? absl::StrCat(static_cast<int64_t>(number)) : std::string(value);
}

// Any number of up to 64 bits, within the limits of type T.
template <typename T>
absl::StatusOr<T> ParseInteger(absl::string_view value) {
  const std::string digits = WithoutExponent(value);
  T number;
  if (absl::SimpleAtoi(digits, &number)) return number;
  const char* const kind = std::numeric_limits<T>::is_signed ? "an integer" : "an unsigned integer";
  absl::int128 wide;
  const bool too_large = absl::SimpleAtoi(digits, &wide) && wide > absl::int128(std::numeric_limits<T>::max());
  if (!too_large) return Expected(kind, value);
  return Expected(absl::StrCat(kind, " of at most ", std::numeric_limits<T>::max()), value);
}

// Stores one value: a singular field is set, a repeated one grows.
class ValueWriter {
 public:
  ValueWriter(const Field& field, pb::Message* message)
      : field_(field), message_(message), reflection_(*message->GetReflection()) {}

  absl::Status Write(absl::string_view value) {
    switch (field_.cpp_type()) {
      case Field::CPPTYPE_INT32:
        return Store(ParseInteger<int32_t>(value), &pb::Reflection::SetInt32, &pb::Reflection::AddInt32);
      case Field::CPPTYPE_INT64:
        return Store(ParseInteger<int64_t>(value), &pb::Reflection::SetInt64, &pb::Reflection::AddInt64);
      case Field::CPPTYPE_UINT32:
        return Store(ParseInteger<uint32_t>(value), &pb::Reflection::SetUInt32, &pb::Reflection::AddUInt32);
      case Field::CPPTYPE_UINT64:
        return Store(ParseInteger<uint64_t>(value), &pb::Reflection::SetUInt64, &pb::Reflection::AddUInt64);
      case Field::CPPTYPE_DOUBLE:
        return Store(ParseDouble(value), &pb::Reflection::SetDouble, &pb::Reflection::AddDouble);
      case Field::CPPTYPE_FLOAT:
        return Store(ParseDouble(value), &pb::Reflection::SetFloat, &pb::Reflection::AddFloat);
      case Field::CPPTYPE_BOOL:
        return Store(ParseBool(value), &pb::Reflection::SetBool, &pb::Reflection::AddBool);
      case Field::CPPTYPE_ENUM:
        return Store(ParseEnum(value), &pb::Reflection::SetEnum, &pb::Reflection::AddEnum);
      case Field::CPPTYPE_STRING:
        return Store(absl::StatusOr<std::string>(std::string(value)), &pb::Reflection::SetString,
                     &pb::Reflection::AddString);
      case Field::CPPTYPE_MESSAGE:
        break;
    }
    return absl::InvalidArgumentError(absl::StrCat("a group of fields; set one of its own: ",
                                                   absl::StrJoin(FieldNames(*field_.message_type()), ", ")));
  }

 private:
  template <typename T, typename Set, typename Add>
  absl::Status Store(absl::StatusOr<T> value, Set set, Add add) {
    RETURN_IF_ERROR(value.status());
    if (field_.is_repeated()) {
      (reflection_.*add)(message_, &field_, *std::move(value));
    } else {
      (reflection_.*set)(message_, &field_, *std::move(value));
    }
    return absl::OkStatus();
  }

  static absl::StatusOr<double> ParseDouble(absl::string_view value) {
    double number;
    if (!absl::SimpleAtod(value, &number)) return Expected("a number", value);
    return number;
  }

  static absl::StatusOr<bool> ParseBool(absl::string_view value) {
    if (value == "true") return true;
    if (value == "false") return false;
    return Expected("true or false", value);
  }

  absl::StatusOr<const pb::EnumValueDescriptor*> ParseEnum(absl::string_view value) const {
    const pb::EnumValueDescriptor* found = field_.enum_type()->FindValueByName(std::string(value));
    if (found != nullptr) return found;
    return absl::InvalidArgumentError(UnknownValueMessage(EnumValueNames(*field_.enum_type()), std::string(value)));
  }

  const Field& field_;
  pb::Message* const message_;
  const pb::Reflection& reflection_;
};

// The field `name` of `message`, unless another member of its oneof is in use.
absl::StatusOr<const Field*> FindField(const pb::Message& message, const std::string& name) {
  const Field* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr) return absl::InvalidArgumentError(UnknownFieldMessage(*message.GetDescriptor(), name));
  const pb::OneofDescriptor* oneof = field->real_containing_oneof();
  if (oneof == nullptr) return field;
  const Field* used = message.GetReflection()->GetOneofFieldDescriptor(message, oneof);
  if (used == nullptr || used == field) return field;
  return absl::InvalidArgumentError(
      absl::StrCat("the configured ", oneof->name(), " is ", used->name(), ", not ", name));
}

absl::Status SetField(const std::vector<std::string>& path, absl::string_view value, pb::Message* message) {
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    ASSIGN_OR_RETURN(const Field* group, FindField(*message, path[i]));
    if (group->cpp_type() != Field::CPPTYPE_MESSAGE || group->is_repeated()) {
      return absl::InvalidArgumentError(absl::StrCat(path[i], " has no fields of its own"));
    }
    message = message->GetReflection()->MutableMessage(message, group);
  }
  ASSIGN_OR_RETURN(const Field* field, FindField(*message, path.back()));
  const bool is_list = field->is_repeated();
  if (value.empty() || is_list) message->GetReflection()->ClearField(message, field);
  if (value.empty()) return absl::OkStatus();
  ValueWriter writer(*field, message);
  if (!is_list) return writer.Write(value);
  absl::string_view list = value;
  if (list.size() >= 2 && list.front() == '[' && list.back() == ']') {  // as in a file
    list = absl::StripAsciiWhitespace(list.substr(1, list.size() - 2));
    if (list.empty()) return absl::OkStatus();
  }
  for (absl::string_view element : std::vector<absl::string_view>(absl::StrSplit(list, ','))) {
    RETURN_IF_ERROR(writer.Write(absl::StripAsciiWhitespace(element)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyOverride(const std::string& override, pb::Message* message) {
  const size_t equals = override.find('=');
  if (equals == std::string::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat("\"", override, "\": expected path.to.field=value"));
  }
  const std::string path = OverriddenField(override);
  const std::string value(absl::StripAsciiWhitespace(override.substr(equals + 1)));
  // Changes a copy, so that a refused override leaves no empty messages behind.
  std::unique_ptr<pb::Message> changed(message->New());
  changed->CopyFrom(*message);
  const absl::Status status = SetField(absl::StrSplit(path, '.'), value, changed.get());
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
  message->GetReflection()->Swap(message, changed.get());
  return absl::OkStatus();
}

std::string OverriddenField(const std::string& override) {
  return std::string(absl::StripAsciiWhitespace(override.substr(0, override.find('='))));
}

}  // namespace headrace
