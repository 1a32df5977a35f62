#include "common/rpc_metrics.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/calls_begun.h"
#include "common/refusals.h"
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
  CountingFactory(CounterFamily ended, std::shared_ptr<std::atomic<int64_t>> heard)
      : ended_(std::move(ended)), heard_(std::move(heard)) {}

  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    ++*heard_;
    return new Counting(LabelOf(FindMethod(info->method())), info->server_context(), ended_);
  }

 private:
  const CounterFamily ended_;
  const std::shared_ptr<std::atomic<int64_t>> heard_;
};

}  // namespace

RpcMetrics::RpcMetrics(MetricRegistry& registry)
    : ended_(registry.AddCounterFamily(
          "headrace_rpc_ended_total",
          "Calls that have ended, by method (`other`: none that this program knows) and "
          "status code; a stream is one call, and CANCELLED if it was cut off, as for a message "
          "that is too large. Not those without an accepted token.",
          {"method", "code"})),
      heard_(std::make_shared<std::atomic<int64_t>>(0)) {
  prometheus::Gauge& unheard = registry.AddGauge(
      "headrace_rpc_unheard_calls",
      "Calls that have come to the process and not to a service: unary calls whose request is on its way now, and all "
      "that were refused because it is too large. Not those without an accepted token.");
  registry.OnPage([&unheard, heard = heard_] {
    const int64_t calls = *heard + CallsWithoutToken();  // before: one that comes in between is unheard for once
    unheard.Set(static_cast<double>(std::max<int64_t>(0, CallsBegun() - calls)));
  });
}

std::unique_ptr<ServerInterceptorFactoryInterface> RpcMetrics::Factory() const {
  return std::make_unique<CountingFactory>(ended_, heard_);
}

}  // namespace headrace
