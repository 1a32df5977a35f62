#include "actor/remote_action_source.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/act_wire.h"
#include "common/byte_buffer.h"
#include "common/grpc_server.h"
#include "common/policy_version.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kPatience{100};    // of one wait, between two looks at should_stop
constexpr std::chrono::milliseconds kVersionPause{5};  // before newer weights are asked for again

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
      channel_(MakeChannel(options_.address)),
      exploration_(exploration),
      metrics_(metrics),
      should_stop_(std::move(should_stop)),
      connection_(absl::StrCat("the policy of the learner at ", options_.address),
                  {.open = [this] { return OpenStream(); },
                   .close = [this] { CloseStream(); },
                   .lost = [this](const absl::Status& status, bool final) { OnLost(status, final); }}) {}

absl::StatusOr<uint64_t> RemoteActionSource::Act(const at::Tensor& observations, ActMode mode,
                                                 at::Tensor& recurrent_state, at::Tensor& actions,
                                                 at::Tensor& log_probs) {
  if (mode == ActMode::kRandom) {
    {
      MutexLock lock(&mutex_);
      RETURN_IF_ERROR(fatal_);
    }
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

absl::Status RemoteActionSource::WaitFor(uint64_t version) {
  at_least_ = std::max(at_least_, version);  // it is the next answer that is waited for
  return absl::OkStatus();
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

absl::StatusOr<v1::ActResponse> RemoteActionSource::Ask(const at::Tensor& observations,
                                                        const at::Tensor& recurrent_state, Clock::time_point deadline) {
  while (true) {
    {
      MutexLock lock(&mutex_);
      asked_ = MakeActRequest(++request_, BytesOf(observations), BytesOf(recurrent_state));
      answer_.reset();
      if (stream_ != nullptr) stream_->Send(*asked_);
    }
    ASSIGN_OR_RETURN(std::optional<v1::ActResponse> answer, WaitForAnswer(deadline));
    if (!answer.has_value()) return absl::DeadlineExceededError("no answer in time");
    if (answer->status_code() != 0) {
      return absl::Status(static_cast<absl::StatusCode>(answer->status_code()),
                          absl::StrCat("the learner has no actions: ", answer->status_message()));
    }
    if (answer->policy_version() >= at_least_) return *std::move(answer);
    // Older weights than those that were waited for: nothing but time brings newer ones.
    if (should_stop_()) return absl::CancelledError("stopping");
    const Clock::time_point until = Clock::now() + kVersionPause;
    MutexLock lock(&mutex_);
    while (fatal_.ok() && Clock::now() < until) changed_.WaitUntil(&mutex_, until);
  }
}

absl::StatusOr<std::optional<v1::ActResponse>> RemoteActionSource::WaitForAnswer(Clock::time_point deadline) {
  while (true) {
    {
      MutexLock lock(&mutex_);
      const Clock::time_point until = std::min(deadline, Clock::now() + kPatience);
      while (!answer_.has_value() && fatal_.ok() && Clock::now() < until) changed_.WaitUntil(&mutex_, until);
      if (answer_.has_value()) return std::exchange(answer_, std::nullopt);
      RETURN_IF_ERROR(fatal_);
      if (Clock::now() >= deadline) return std::nullopt;
    }
    if (should_stop_()) return absl::CancelledError("stopping");
  }
}

absl::Status RemoteActionSource::OpenStream() {
  std::unique_ptr<ClientStream> stream =
      ClientStream::Open(channel_, "/headrace.v1.Inference/Act",
                         {.message = [this](const grpc::ByteBuffer& message) { OnAnswer(message); },
                          .closed = [this](const absl::Status& status) { connection_.Lost(status); }});
  v1::ActRequest open;
  *open.mutable_open() = options_.open;
  MutexLock lock(&mutex_);
  stream->Send(ToByteBuffer(open));
  if (asked_.has_value()) stream->Send(*asked_);
  stream_ = std::move(stream);
  return absl::OkStatus();
}

void RemoteActionSource::CloseStream() {
  std::unique_ptr<ClientStream> stream;  // destroyed outside the mutex: its last callbacks take it
  MutexLock lock(&mutex_);
  stream = std::move(stream_);
}

void RemoteActionSource::OnLost(const absl::Status& status, bool final) {
  if (!final) return;
  MutexLock lock(&mutex_);
  fatal_ = status;
  changed_.NotifyAll();
}

void RemoteActionSource::OnAnswer(const grpc::ByteBuffer& message) {
  v1::ActResponse response;
  if (const absl::Status status = FromByteBuffer(message, response); !status.ok()) {
    connection_.Lost(absl::UnavailableError(status.message()));
    return;
  }
  connection_.Proven();
  MutexLock lock(&mutex_);
  if (!asked_.has_value() || response.request() != request_) return;  // of a request that was given up
  asked_.reset();
  answer_ = std::move(response);
  changed_.NotifyAll();
}

}  // namespace headrace
