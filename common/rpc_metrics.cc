#include "common/rpc_metrics.h"

#include <atomic>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/rpc_method.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/server_context.h"

namespace headrace {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;

std::string LabelOf(const google::protobuf::MethodDescriptor* method) {
  if (method == nullptr) return "other";
  return absl::StrCat(absl::StripPrefix(method->service()->full_name(), "headrace.v1."), "/", method->name());
}

class Counting final : public Interceptor {
 public:
  Counting(std::string method, const grpc::ServerContextBase* context, CounterFamily ended)
      : method_(std::move(method)),
        context_(dynamic_cast<const grpc::CallbackServerContext*>(context)),
        ended_(std::move(ended)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = static_cast<absl::StatusCode>(methods->GetSendStatus().error_code());
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_CLOSE)) {
      // An OK that did not reach the client is none: the call was cut off, and the service took that for its end.
      absl::StatusCode code = code_;
      if (code == absl::StatusCode::kOk && context_ != nullptr && context_->IsCancelled()) {
        code = absl::StatusCode::kCancelled;
      }
      ended_.With({method_, absl::StatusCodeToString(code)}).Increment();
    }
    methods->Proceed();
  }

 private:
  const std::string method_;
  const grpc::CallbackServerContext* const context_;  // null: a synchronous call, which may not be asked here
  const CounterFamily ended_;
  std::atomic<absl::StatusCode> code_ = absl::StatusCode::kCancelled;  // that the service gave
};

class CountingFactory final : public ServerInterceptorFactoryInterface {
 public:
  explicit CountingFactory(CounterFamily ended) : ended_(std::move(ended)) {}

  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new Counting(LabelOf(FindMethod(info->method())), info->server_context(), ended_);
  }

 private:
  const CounterFamily ended_;
};

}  // namespace

RpcMetrics::RpcMetrics(MetricRegistry& registry)
    : ended_(registry.AddCounterFamily("headrace_rpc_ended_total",
                                       "Calls that have ended, by method (`other`: none that this program knows) and "
                                       "status code; a stream is one call.",
                                       {"method", "code"})) {}

std::unique_ptr<ServerInterceptorFactoryInterface> RpcMetrics::Factory() const {
  return std::make_unique<CountingFactory>(ended_);
}

}  // namespace headrace
