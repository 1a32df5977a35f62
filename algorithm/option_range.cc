#include "algorithm/option_range.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"

namespace headrace {
namespace {

absl::Status Check(bool valid, std::string_view name, const char* range, double value) {
  if (valid && std::isfinite(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(name), ": expected ", range, ", got ", value));
}

}  // namespace

absl::Status CheckFinite(std::string_view name, double value) { return Check(true, name, "a finite number", value); }

absl::Status CheckPositive(std::string_view name, double value) {
  return Check(value > 0, name, "a number above 0", value);
}

absl::Status CheckFraction(std::string_view name, double value) {
  return Check(value >= 0 && value <= 1, name, "a number in [0, 1]", value);
}

absl::Status CheckCount(std::string_view name, double value, double most) {
  return Check(value >= 1 && value <= most, name, absl::StrCat("a number from 1 to ", most).c_str(), value);
}

}  // namespace headrace
