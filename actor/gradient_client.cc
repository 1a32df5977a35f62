#include "actor/gradient_client.h"

#include <optional>
#include <utility>

#include "common/byte_buffer.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

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

absl::StatusOr<v1::PushResponse> GradientClient::Push(v1::PushRequest& request) {
  requests_.Ask([&](uint64_t number) {
    request.set_number(number);
    return ToByteBuffer(request);
  });
  return WaitForAnswer();
}

absl::StatusOr<v1::PushResponse> GradientClient::WaitForAnswer() {
  constexpr auto kNever = RequestStream<v1::PushResponse>::Clock::time_point::max();
  ASSIGN_OR_RETURN(std::optional<v1::PushResponse> answer, requests_.Answer(kNever));
  return *std::move(answer);
}

}  // namespace headrace
