#include "common/command_line.h"

#include <map>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/nearest.h"

namespace headrace {
namespace {

constexpr char kSet[] = "set";

// The program's own flags, without those that Abseil brings along.
std::map<std::string, absl::CommandLineFlag*> Flags() {
  std::map<std::string, absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (!absl::StrContains(flag->Filename(), "absl/flags/")) flags.emplace(std::string(name), flag);
  }
  return flags;
}

absl::Status UnknownFlag(const std::string& name, const std::map<std::string, absl::CommandLineFlag*>& flags) {
  std::vector<std::string> names = {"help"};
  for (const auto& [known, flag] : flags) names.push_back(known);
  const std::vector<std::string> nearest = NearestNames(name, names, 1);
  const std::string hint = nearest.empty() ? "" : absl::StrCat(" (did you mean --", nearest[0], "?)");
  return absl::InvalidArgumentError(absl::StrCat("there is no flag --", name, hint, "; --help explains them all"));
}

}  // namespace

absl::StatusOr<CommandLine> ReadCommandLine(const std::vector<std::string>& arguments) {
  const std::map<std::string, absl::CommandLineFlag*> flags = Flags();
  CommandLine line;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view word = arguments[i];
    if (!absl::ConsumePrefix(&word, "-") || word.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("expected flags only, got \"", arguments[i], "\""));
    }
    absl::ConsumePrefix(&word, "-");
    const size_t equals = word.find('=');
    const std::string name(word.substr(0, equals));
    if (name == "help" || name == "h") {
      line.help = true;
      continue;
    }
    const bool negated = absl::StartsWith(name, "no") && !flags.contains(name) && equals == std::string::npos;
    const auto flag = flags.find(negated ? name.substr(2) : name);
    if (flag == flags.end() || (negated && !flag->second->IsOfType<bool>())) return UnknownFlag(name, flags);
    std::string value;
    if (equals != std::string::npos) {
      value = std::string(word.substr(equals + 1));
    } else if (flag->second->IsOfType<bool>()) {
      value = negated ? "false" : "true";
    } else if (++i < arguments.size()) {
      value = arguments[i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value"));
    }
    if (name == kSet) {
      line.overrides.push_back(value);
      continue;
    }
    std::string error;
    if (!flag->second->ParseFrom(value, &error)) return absl::InvalidArgumentError(error);
  }
  return line;
}

std::string HelpText(const std::string& usage) {
  std::string text = absl::StrCat(usage, "\n\n");
  for (const auto& [name, flag] : Flags()) {
    absl::StrAppend(&text, "  --", name, ": ", flag->Help());
    if (!flag->DefaultValue().empty()) absl::StrAppend(&text, " (default: ", flag->DefaultValue(), ")");
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace headrace
