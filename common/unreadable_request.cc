#include "common/unreadable_request.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc_method.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/support/status.h"

namespace headrace {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

class Explaining final : public Interceptor {
 public:
  explicit Explaining(std::string expected) : expected_(std::move(expected)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      unreadable_ = methods->GetRecvMessage() == nullptr;
    }
    if (unreadable_ && methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS) &&
        methods->GetSendStatus().error_code() == grpc::StatusCode::INTERNAL) {
      methods->ModifySendStatus(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                             absl::StrCat("expected a ", expected_, ", got bytes that are none")));
    }
    methods->Proceed();
  }

 private:
  const std::string expected_;
  bool unreadable_ = false;
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    if (info->type() != ServerRpcInfo::Type::UNARY) return nullptr;
    const google::protobuf::MethodDescriptor* const method = FindMethod(info->method());
    return new Explaining(method == nullptr ? "message" : method->input_type()->full_name());
  }
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> ExplainUnreadableRequests() {
  return std::make_unique<Factory>();
}

}  // namespace headrace
