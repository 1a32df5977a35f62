#include "common/rpc_metrics.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/strip.h"

namespace headrace {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;

class Counting final : public Interceptor {
 public:
  Counting(std::string method, CounterFamily ended) : method_(std::move(method)), ended_(std::move(ended)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const auto code = static_cast<absl::StatusCode>(methods->GetSendStatus().error_code());
      ended_.With({method_, absl::StatusCodeToString(code)}).Increment();
    }
    methods->Proceed();
  }

 private:
  const std::string method_;
  const CounterFamily ended_;
};

class CountingFactory final : public ServerInterceptorFactoryInterface {
 public:
  explicit CountingFactory(CounterFamily ended) : ended_(std::move(ended)) {}

  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new Counting(std::string(absl::StripPrefix(info->method(), "/headrace.v1.")), ended_);
  }

 private:
  const CounterFamily ended_;
};

}  // namespace

RpcMetrics::RpcMetrics(MetricRegistry& registry)
    : ended_(registry.AddCounterFamily("headrace_rpc_ended_total",
                                       "Calls that this server has ended, by method and status code; a stream is one "
                                       "call.",
                                       {"method", "code"})) {}

std::unique_ptr<ServerInterceptorFactoryInterface> RpcMetrics::Factory() const {
  return std::make_unique<CountingFactory>(ended_);
}

}  // namespace headrace
