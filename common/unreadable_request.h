// Tells the client of a unary call what is wrong with a request that cannot be read: INVALID_ARGUMENT. gRPC 1.51 alone
// answers INTERNAL, without a word.
#ifndef HEADRACE_COMMON_UNREADABLE_REQUEST_H_
#define HEADRACE_COMMON_UNREADABLE_REQUEST_H_

#include <memory>

#include "grpcpp/support/server_interceptor.h"

namespace headrace {

// For the server's builder, before interceptors that look at the status.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> ExplainUnreadableRequests();

}  // namespace headrace

#endif  // HEADRACE_COMMON_UNREADABLE_REQUEST_H_
