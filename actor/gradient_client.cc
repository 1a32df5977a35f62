#include "actor/gradient_client.h"

#include <chrono>
#include <optional>
#include <utility>

#include "common/byte_buffer.h"
#include "common/seconds.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

using Clock = RequestStream<v1::PushResponse>::Clock;

constexpr std::chrono::seconds kPatience{1};  // of one wait, between two looks at the clock

v1::PushRequest OpenRequest(const v1::PushOpen& open) {
  v1::PushRequest request;
  *request.mutable_open() = open;
  return request;
}

}  // namespace

GradientClient::GradientClient(const std::string& address, const v1::PushOpen& open, std::function<bool()> should_stop)
    : requests_({.address = address,
                 .what = "the parameters",
                 .method = "/headrace.v1.Gradients/Push",
                 .open = ToByteBuffer(OpenRequest(open)),
                 .number = [](const v1::PushResponse& response) { return response.number(); },
                 .should_stop = std::move(should_stop)}) {}

absl::StatusOr<v1::PushResponse> GradientClient::WaitForWeights() {
  ASSIGN_OR_RETURN(std::optional<v1::PushResponse> answer, requests_.Answer(Clock::time_point::max()));
  return *std::move(answer);
}

absl::StatusOr<v1::PushResponse> GradientClient::Push(v1::PushRequest& request, prometheus::Counter* waiting_seconds) {
  requests_.Ask([&](uint64_t number) {
    request.set_number(number);
    return ToByteBuffer(request);
  });
  while (true) {
    const Clock::time_point begin = Clock::now();
    absl::StatusOr<std::optional<v1::PushResponse>> answer = requests_.Answer(begin + kPatience);
    waiting_seconds->Increment(Seconds(Clock::now() - begin));
    RETURN_IF_ERROR(answer.status());
    if (answer->has_value()) return **std::move(answer);
  }
}

}  // namespace headrace
