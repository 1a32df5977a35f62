// How many calls have come to this process, as gRPC itself counts them.
#ifndef HEADRACE_COMMON_CALLS_BEGUN_H_
#define HEADRACE_COMMON_CALLS_BEGUN_H_

#include <cstdint>

namespace headrace {

// Calls whose headers have come to the gRPC servers that the process has now, those included that gRPC ends before an
// interceptor or a service hears of them. Not of servers that were built without GRPC_ARG_ENABLE_CHANNELZ. Takes some
// hundred microseconds. Thread-safe.
int64_t CallsBegun();

}  // namespace headrace

#endif  // HEADRACE_COMMON_CALLS_BEGUN_H_
