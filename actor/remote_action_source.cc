#include "actor/remote_action_source.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/act_wire.h"
#include "common/byte_buffer.h"
#include "common/policy_version.h"
#include "common/seconds.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr std::chrono::seconds kPatience{1};  // of one wait, between two looks at the clock

v1::ActRequest OpenRequest(const v1::ActOpen& open) {
  v1::ActRequest request;
  *request.mutable_open() = open;
  return request;
}

at::Tensor& WithLanes(at::Tensor& log_probs, int64_t lanes) {
  if (!log_probs.defined() || log_probs.numel() != lanes) log_probs = at::zeros({lanes}, at::kFloat);
  return log_probs;
}

std::span<const std::byte> BytesOf(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

absl::Status CopyInto(at::Tensor& tensor, const std::string& bytes, const char* what) {
  if (bytes.size() != tensor.nbytes()) {
    return absl::InternalError(
        absl::StrFormat("expected %s of %d bytes from the learner, got %d", what, tensor.nbytes(), bytes.size()));
  }
  std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  return absl::OkStatus();
}

}  // namespace

RemoteActionSource::RemoteActionSource(Options options, RandomStream exploration, ActorMetrics* metrics,
                                       std::function<bool()> should_stop)
    : options_(std::move(options)),
      exploration_(exploration),
      metrics_(metrics),
      requests_({.address = options_.address,
                 .what = "the policy",
                 .method = "/headrace.v1.Inference/Act",
                 .open = ToByteBuffer(OpenRequest(options_.open)),
                 .number = [](const v1::ActResponse& response) { return response.request(); },
                 .should_stop = std::move(should_stop)}) {}

absl::StatusOr<uint64_t> RemoteActionSource::Act(const at::Tensor& observations, ActMode mode,
                                                 at::Tensor& recurrent_state, at::Tensor& actions,
                                                 at::Tensor& log_probs) {
  if (mode == ActMode::kRandom) {
    RETURN_IF_ERROR(requests_.status());
    DrawRandom(actions, log_probs);
    return 0;
  }
  const bool waits = options_.inference.fallback() == v1::WAIT;
  const Clock::time_point deadline =
      waits ? Clock::time_point::max()
            : Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(options_.inference.timeout_seconds()));
  absl::StatusOr<v1::ActResponse> answer = Ask(observations, recurrent_state, deadline);
  if (absl::IsDeadlineExceeded(answer.status())) {
    FallBack(actions, log_probs);
    return 0;
  }
  RETURN_IF_ERROR(answer.status());
  RETURN_IF_ERROR(CopyInto(actions, answer->actions(), "actions"));
  if (recurrent_state.defined()) {
    RETURN_IF_ERROR(CopyInto(recurrent_state, answer->recurrent_state(), "recurrent state"));
  }
  if (answer->log_probs().empty()) {
    log_probs = at::zeros({0}, at::kFloat);
  } else {
    RETURN_IF_ERROR(CopyInto(WithLanes(log_probs, observations.size(0)), answer->log_probs(), "log-probabilities"));
  }
  const uint64_t updates = PolicyUpdate(answer->policy_version());
  if (metrics_->policy_version.Value() != static_cast<double>(updates)) metrics_->CountPolicy(updates);
  return answer->policy_version();
}

absl::Status RemoteActionSource::WaitFor(uint64_t, Deadline) {
  return absl::UnimplementedError("who acts in rounds or in lockstep has a policy of its own");
}

void RemoteActionSource::DrawRandom(at::Tensor& actions, at::Tensor& log_probs) {
  const int64_t lanes = actions.size(0);
  float log_prob;
  if (options_.discrete_actions > 0) {
    for (int32_t& action : std::span(actions.mutable_data_ptr<int32_t>(), actions.numel())) {
      action = static_cast<int32_t>(exploration_.Below(options_.discrete_actions));
    }
    log_prob = -std::log(static_cast<float>(options_.discrete_actions));
  } else {
    for (float& action : std::span(actions.mutable_data_ptr<float>(), actions.numel())) {
      action = static_cast<float>(exploration_.Uniform(-1, 1));
    }
    log_prob = -static_cast<float>(actions.numel() / lanes) * std::log(2.0f);
  }
  WithLanes(log_probs, lanes).fill_(log_prob);
}

void RemoteActionSource::FallBack(at::Tensor& actions, at::Tensor& log_probs) {
  if (options_.inference.fallback() == v1::ZERO_ACTION) actions.zero_();  // otherwise it has the last ones still
  WithLanes(log_probs, actions.size(0)).zero_();
  metrics_->fallback_steps.Increment(static_cast<double>(actions.size(0)));
}

absl::StatusOr<std::optional<v1::ActResponse>> RemoteActionSource::Answer(Clock::time_point deadline, bool held_back) {
  while (true) {
    const Clock::time_point begin = Clock::now();
    ASSIGN_OR_RETURN(std::optional<v1::ActResponse> answer, requests_.Answer(std::min(deadline, begin + kPatience)));
    const Clock::time_point now = Clock::now();
    if (answer.has_value() || now >= deadline) return answer;
    if (held_back) continue;
    metrics_->policy_seconds.Increment(Seconds(now - begin));
    accounted_seconds_ += Seconds(now - begin);
  }
}

absl::StatusOr<v1::ActResponse> RemoteActionSource::Ask(const at::Tensor& observations,
                                                        const at::Tensor& recurrent_state, Clock::time_point deadline) {
  std::optional<Clock::time_point> held_back;  // since then
  while (true) {
    requests_.Ask(
        [&](uint64_t number) { return MakeActRequest(number, BytesOf(observations), BytesOf(recurrent_state)); });
    ASSIGN_OR_RETURN(std::optional<v1::ActResponse> answer, Answer(deadline, held_back.has_value()));
    if (!answer.has_value()) return absl::DeadlineExceededError("no answer in time");
    if (answer->status_code() == static_cast<uint32_t>(kHeldBack)) {
      if (!held_back.has_value()) held_back = Clock::now();
      deadline = Clock::time_point::max();
      metrics_->held_back.Set(1);
      continue;
    }
    if (held_back.has_value()) {
      accounted_seconds_ += Seconds(Clock::now() - *std::exchange(held_back, std::nullopt));
      metrics_->held_back.Set(0);
    }
    if (answer->status_code() != 0) {
      return absl::Status(static_cast<absl::StatusCode>(answer->status_code()),
                          absl::StrCat("the learner has no actions: ", answer->status_message()));
    }
    return *std::move(answer);
  }
}

}  // namespace headrace
