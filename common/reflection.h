// gRPC server reflection: tools such as grpcurl learn from it which services a server has and what they take.
//
//   builder.SetOption(ReflectionOption());
//
// gRPC's own has a thread for each stream, for as long as the client likes; here they are streams like all others
// (common/server_stream.h).
#ifndef HEADRACE_COMMON_REFLECTION_H_
#define HEADRACE_COMMON_REFLECTION_H_

#include <memory>

#include "grpcpp/impl/server_builder_option.h"

namespace headrace {

// Adds the service to a server. The server may let nobody in before it has been built.
std::unique_ptr<grpc::ServerBuilderOption> ReflectionOption();

}  // namespace headrace

#endif  // HEADRACE_COMMON_REFLECTION_H_
