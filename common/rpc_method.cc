#include "common/rpc_method.h"

#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace headrace {

const google::protobuf::MethodDescriptor* FindMethod(absl::string_view path) {
  return google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
      absl::StrReplaceAll(absl::StripPrefix(path, "/"), {{"/", "."}}));
}

}  // namespace headrace
