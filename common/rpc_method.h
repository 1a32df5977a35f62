// What the program knows of a call's method. A client may ask for anything.
#ifndef HEADRACE_COMMON_RPC_METHOD_H_
#define HEADRACE_COMMON_RPC_METHOD_H_

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace headrace {

// Of a path as in "/headrace.v1.Replay/Insert"; null if the program has no such method.
const google::protobuf::MethodDescriptor* FindMethod(absl::string_view path);

}  // namespace headrace

#endif  // HEADRACE_COMMON_RPC_METHOD_H_
