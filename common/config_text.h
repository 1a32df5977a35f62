// Text format to message, with errors for people: "FILE:LINE:COLUMN: what is wrong; did you mean X?".
//
//   TextLocations locations;
//   RETURN_IF_ERROR(ParseText(text, "run.textproto", &config, &locations));
//   locations.Find(*config.GetDescriptor(), "actor.processes");  // "run.textproto:7:3"
//
// Thread-safe, but for one TextLocations written by two threads.
#ifndef HEADRACE_COMMON_CONFIG_TEXT_H_
#define HEADRACE_COMMON_CONFIG_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"

namespace headrace {

// Where each field of a parsed message stands in its text.
class TextLocations {
 public:
  // "FILE:LINE:COLUMN" of the field with the dotted path `path` below `root`, an element of a repeated one as
  // name[index]; empty when the text does not set it.
  std::string Find(const google::protobuf::Descriptor& root, const std::string& path) const;

 private:
  friend absl::Status ParseText(const std::string& text, const std::string& name, google::protobuf::Message* message,
                                TextLocations* locations);

  std::string name_;
  google::protobuf::TextFormat::ParseInfoTree tree_;
};

// INVALID_ARGUMENT for the first thing that is wrong; *message is then unspecified. `name` stands for the file.
absl::Status ParseText(const std::string& text, const std::string& name, google::protobuf::Message* message,
                       TextLocations* locations);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_TEXT_H_
