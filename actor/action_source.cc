#include "actor/action_source.h"

#include <chrono>
#include <utility>

#include "common/policy_version.h"
#include "common/status_macros.h"
#include "model/weights.h"

namespace headrace {
namespace {

constexpr std::chrono::milliseconds kPatience{100};  // of one wait, between two looks at should_stop

}  // namespace

LocalActionSource::LocalActionSource(std::unique_ptr<Policy> policy, ParameterSubscriber* parameters,
                                     RandomStream exploration, const Options& options, ActorMetrics* metrics,
                                     std::function<bool()> should_stop)
    : policy_(std::move(policy)),
      parameters_(parameters),
      options_(options),
      exploration_(exploration),
      metrics_(metrics),
      should_stop_(std::move(should_stop)) {}

absl::StatusOr<uint64_t> LocalActionSource::Act(const at::Tensor& observations, ActMode mode,
                                                at::Tensor& recurrent_state, at::Tensor& actions,
                                                at::Tensor& log_probs) {
  RETURN_IF_ERROR(parameters_->status());  // else it would act on what it has for ever
  const bool random = mode == ActMode::kRandom;
  // Random actions need no weights; everything else waits for the first.
  if (version_ == 0 && !random) RETURN_IF_ERROR(WaitForTheFirst());
  if (acts_ == 0) RETURN_IF_ERROR(UseNewestWeights());
  if (options_.round_steps > 0) acts_ = (acts_ + 1) % options_.round_steps;
  policy_->Act(observations, mode, exploration_, recurrent_state, actions, log_probs);
  return random ? 0 : version_;
}

absl::Status LocalActionSource::UseNewestWeights() {
  if (parameters_->newest_version() == version_) return absl::OkStatus();
  const std::shared_ptr<const Weights> weights = options_.delay_updates > 0 ? Delayed() : parameters_->Newest();
  if (weights == nullptr || weights->version == version_) return absl::OkStatus();
  RETURN_IF_ERROR(LoadTensors(weights->safetensors, policy_->Tensors()));
  version_ = weights->version;
  metrics_->CountPolicy(PolicyUpdate(version_));
  return absl::OkStatus();
}

std::shared_ptr<const Weights> LocalActionSource::Delayed() {
  std::shared_ptr<const Weights> newest = parameters_->Newest();
  if (newest == nullptr) return nullptr;
  if (received_.empty() || received_.back()->version < newest->version) received_.push_back(std::move(newest));
  const uint64_t update = PolicyUpdate(received_.back()->version);
  while (received_.size() > 1 && PolicyUpdate(received_[1]->version) + options_.delay_updates <= update) {
    received_.pop_front();
  }
  return received_.front();
}

absl::Status LocalActionSource::WaitFor(uint64_t version, Deadline deadline) {
  return parameters_->WaitFor(version, deadline).status();
}

absl::Status LocalActionSource::WaitForTheFirst() {
  while (true) {
    const absl::Status status = WaitFor(1, std::chrono::steady_clock::now() + kPatience);
    if (!absl::IsDeadlineExceeded(status)) return status;
    if (should_stop_()) return absl::CancelledError("stopping");
  }
}

}  // namespace headrace
