#include "common/config_text.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/config_names.h"
#include "common/status_macros.h"
#include "google/protobuf/io/tokenizer.h"

namespace headrace {
namespace {

namespace pb = ::google::protobuf;

// Of a line, in an error.
constexpr size_t kMostQuoted = 80;

// Takes `prefix` and then everything up to the next quote off the front of *text.
bool ConsumeQuoted(absl::string_view* text, absl::string_view prefix, std::string* quoted) {
  const size_t start = text->find(prefix);
  if (start == absl::string_view::npos) return false;
  absl::string_view rest = text->substr(start + prefix.size());
  const size_t end = rest.find('"');
  if (end == absl::string_view::npos) return false;
  *quoted = std::string(rest.substr(0, end));
  *text = rest.substr(end + 1);
  return true;
}

// Adds the values of every enum field called `name` at or below `message`.
void CollectEnumValues(const pb::Descriptor& message, const std::string& name, std::set<const pb::Descriptor*>* seen,
                       std::vector<std::string>* values) {
  if (!seen->insert(&message).second) return;
  for (int i = 0; i < message.field_count(); ++i) {
    const pb::FieldDescriptor& field = *message.field(i);
    if (field.message_type() != nullptr) {
      CollectEnumValues(*field.message_type(), name, seen, values);
    } else if (field.enum_type() != nullptr && field.name() == name) {
      for (std::string& value : EnumValueNames(*field.enum_type())) {
        if (std::find(values->begin(), values->end(), value) == values->end()) values->push_back(std::move(value));
      }
    }
  }
}

// Collects what the parser says, with names put right. The parser reports text alone, so the names it talks about are
// read back out of its sentences; a sentence of another form passes unchanged.
class Collector : public pb::io::ErrorCollector {
 public:
  Collector(const pb::Descriptor& root, const std::string& name, const std::string& text)
      : root_(root), name_(name), lines_(absl::StrSplit(text, '\n')) {}

  void AddError(int line, int column, const std::string& message) override {
    if (!first_.empty()) return;  // later ones are often consequences
    std::string wrong;
    const std::string explanation = Explain(line, column, message, &wrong);
    if (!wrong.empty()) MoveToWord(wrong, &line, &column);
    first_ = absl::StrCat(name_, ":", line + 1, ":", column + 1, ": ", explanation);
  }

  std::string first() const { return first_.empty() ? absl::StrCat(name_, ": not text format") : first_; }

 private:
  // Sets *wrong to the name that does not exist, if that is the error.
  std::string Explain(int line, int column, const std::string& message, std::string* wrong) const {
    absl::string_view rest = message;
    std::string type;
    if (ConsumeQuoted(&rest, "Message type \"", &type) && ConsumeQuoted(&rest, "has no field named \"", wrong)) {
      const pb::Descriptor* owner = root_.file()->pool()->FindMessageTypeByName(type);
      if (owner != nullptr && owner != &root_ && root_.FindFieldByName(*wrong) != nullptr) {
        return absl::StrCat(owner->name(), " has no field ", *wrong, ", but ", root_.name(),
                            " has: is a } missing before it?");
      }
      if (owner == &root_ && At(line, column) == '{') return UnknownGroupMessage(*owner, *wrong);
      if (owner != nullptr) return UnknownFieldMessage(*owner, *wrong);
    }
    rest = message;
    std::string field;
    if (ConsumeQuoted(&rest, "Unknown enumeration value of \"", wrong) &&
        ConsumeQuoted(&rest, "for field \"", &field)) {
      std::set<const pb::Descriptor*> seen;
      std::vector<std::string> values;
      CollectEnumValues(root_, field, &seen, &values);
      return absl::StrCat(field, ": ", UnknownValueMessage(values, *wrong));
    }
    rest = message;
    if (ConsumeQuoted(&rest, "Invalid value for boolean field \"", &field) &&
        ConsumeQuoted(&rest, "Value: \"", wrong)) {
      return absl::StrCat(field, ": ", UnknownValueMessage({"true", "false"}, *wrong));
    }
    rest = message;
    std::string before, oneof;
    if (ConsumeQuoted(&rest, "Field \"", &field) && ConsumeQuoted(&rest, "is specified along with field \"", &before) &&
        ConsumeQuoted(&rest, ", another member of oneof \"", &oneof)) {
      *wrong = field;
      return absl::StrCat("expected one ", oneof, ", got ", before, " and ", field);
    }
    // "Expected integer, got: two" alone does not say of which field.
    const bool known_line = line >= 0 && static_cast<size_t>(line) < lines_.size();
    const absl::string_view in = known_line ? absl::StripAsciiWhitespace(lines_[line]) : "";
    return absl::StrCat(Reworded(message), in.empty() ? "" : ", in: ", in.substr(0, kMostQuoted),
                        in.size() > kMostQuoted ? "..." : "");
  }

  // Says in words what the parser leaves out, or only it knows by that name.
  static std::string Reworded(const std::string& message) {
    if (message == "Expected identifier, got: ") return "Expected }, got: the end of the file";
    if (message == "Expected integer, got: -") return "Expected an integer that is not negative, got: -";
    if (absl::EndsWith(message, "got: ")) return absl::StrCat(message, "the end of the file");
    return std::string(absl::StripSuffix(message, "."));
  }

  // What the parser had come to: after a wrong name, the word behind it. A space where there is nothing.
  char At(int line, int column) const {
    const bool inside = line >= 0 && static_cast<size_t>(line) < lines_.size() && column >= 0 &&
                        static_cast<size_t>(column) < lines_[line].size();
    return inside ? lines_[line][column] : ' ';
  }

  // The parser notices a wrong name when it has read the word after it: goes back to the last place of the name itself.
  void MoveToWord(const std::string& word, int* line, int* column) const {
    size_t last = static_cast<size_t>(*column);
    for (int l = std::min(*line, static_cast<int>(lines_.size()) - 1); l >= 0; --l, last = std::string::npos) {
      const size_t found = lines_[l].rfind(word, last);
      if (found == std::string::npos) continue;
      *line = l;
      *column = static_cast<int>(found);
      return;
    }
  }

  const pb::Descriptor& root_;
  const std::string name_;
  const std::vector<std::string> lines_;
  std::string first_;
};

// Of another file the parser would understand nothing, and quote bytes that no terminal should get.
absl::Status CheckIsText(const std::string& text, const std::string& name) {
  int line = 1, column = 1;
  for (const char c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) && !absl::ascii_isspace(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s:%d:%d: expected text, got the byte 0x%02x", name, line, column, c));
    }
    column = c == '\n' ? 1 : column + 1;
    if (c == '\n') ++line;
  }
  return absl::OkStatus();
}

}  // namespace

std::string TextLocations::Find(const pb::Descriptor& root, const std::string& path) const {
  const pb::TextFormat::ParseInfoTree* tree = &tree_;
  const pb::Descriptor* message = &root;
  pb::TextFormat::ParseLocation location;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(path, '.'))) {
    if (tree == nullptr || message == nullptr) return "";
    const size_t bracket = part.find('[');
    const pb::FieldDescriptor* field = message->FindFieldByName(part.substr(0, bracket));
    if (field == nullptr) return "";
    int index = field->is_repeated() ? 0 : -1;
    if (bracket != std::string::npos) index = std::atoi(part.c_str() + bracket + 1);
    location = tree->GetLocation(field, index);
    // The parser notes the place of a list, [1, 2], and not those of its elements.
    for (; location.line < 0 && index > 0; --index) location = tree->GetLocation(field, index - 1);
    message = field->message_type();
    tree = message == nullptr ? nullptr : tree->GetTreeForNested(field, index);
  }
  return location.line < 0 ? "" : absl::StrCat(name_, ":", location.line + 1, ":", location.column + 1);
}

absl::Status ParseText(const std::string& text, const std::string& name, pb::Message* message,
                       TextLocations* locations) {
  RETURN_IF_ERROR(CheckIsText(text, name));
  Collector collector(*message->GetDescriptor(), name, text);
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&collector);
  parser.WriteLocationsTo(&locations->tree_);
  locations->name_ = name;
  if (!parser.ParseFromString(text, message)) return absl::InvalidArgumentError(collector.first());
  return absl::OkStatus();
}

}  // namespace headrace
