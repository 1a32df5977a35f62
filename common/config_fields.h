// Configuration messages as trees of fields: defaults written out, differences named.
//
//   SetDefaults(&config);
//   for (const FieldDifference& d : FindDifferences(stored, config)) Print(d.path, d.before, d.after);
//
// Thread-safe, but for one message changed by two threads.
#ifndef HEADRACE_COMMON_CONFIG_FIELDS_H_
#define HEADRACE_COMMON_CONFIG_FIELDS_H_

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace headrace {

// Sets every field that has a default in the schema and is not set, in messages that are not set too. The members of a
// oneof are not touched, but for what is below the one in use; neither are repeated fields.
void SetDefaults(google::protobuf::Message* message);

struct FieldDifference {
  std::string path;    // dotted
  std::string before;  // as text format, "nothing" where unset
  std::string after;
  bool resumable;  // the field, or a message around it, carries [(resume) = true]
};

// Compares two messages of one type, in the order of their fields. Two members of one oneof are one difference, under
// the name of the oneof.
std::vector<FieldDifference> FindDifferences(const google::protobuf::Message& before,
                                             const google::protobuf::Message& after);

}  // namespace headrace

#endif  // HEADRACE_COMMON_CONFIG_FIELDS_H_
