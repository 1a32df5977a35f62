#include "common/calls_begun.h"

#include <memory>

#include "absl/strings/numbers.h"
#include "common/check.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "grpc/grpc.h"
#include "grpc/support/alloc.h"

namespace headrace {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

// Null where there is none: gRPC leaves out what is empty, or zero.
const Value* Find(const Struct& object, const char* key) {
  const auto found = object.fields().find(key);
  return found == object.fields().end() ? nullptr : &found->second;
}

// JSON has an int64 as a string.
int64_t Integer(const Struct& object, const char* key) {
  const Value* const value = Find(object, key);
  int64_t number = 0;
  if (value != nullptr) HEADRACE_CHECK(absl::SimpleAtoi(value->string_value(), &number));
  return number;
}

// The next of the process's servers, grpc.channelz.v1.GetServersResponse.
Struct ServersFrom(int64_t id) {
  const std::unique_ptr<char, void (*)(void*)> json(grpc_channelz_get_servers(id), gpr_free);
  Struct servers;
  HEADRACE_CHECK(google::protobuf::util::JsonStringToMessage(json.get(), &servers).ok());
  return servers;
}

}  // namespace

int64_t CallsBegun() {
  int64_t calls = 0;
  int64_t next_id = 0;
  for (bool end = false; !end;) {
    const Struct servers = ServersFrom(next_id);
    if (const Value* const list = Find(servers, "server"); list != nullptr) {
      for (const Value& server : list->list_value().values()) {
        next_id = Integer(Find(server.struct_value(), "ref")->struct_value(), "serverId") + 1;
        calls += Integer(Find(server.struct_value(), "data")->struct_value(), "callsStarted");
      }
    }
    end = Find(servers, "end") != nullptr;
  }
  return calls;
}

}  // namespace headrace
