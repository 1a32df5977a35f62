#include "learner/pushed_updates.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_format.h"
#include "common/log.h"
#include "common/policy_version.h"
#include "common/server_stream.h"
#include "common/status_macros.h"
#include "learner/divergence.h"
#include "model/named_tensor.h"
#include "model/weights.h"

namespace headrace {
namespace {

constexpr size_t kMaxStateBytes = kMaxMessageBytes - (1 << 20);  // names and shapes have a part, too
constexpr double kStalenessDecay = 0.99;                         // of the running mean

// Whether the sum of squares is a float32. One that is not would make moving averages of squares infinite, and every
// step after it 0.
bool HasFiniteNorm(const std::string& bytes) {
  const at::Tensor gradient =
      at::from_blob(const_cast<char*>(bytes.data()), {static_cast<int64_t>(bytes.size() / sizeof(float))}, at::kFloat);
  return std::isfinite(gradient.dot(gradient).item<float>());
}

}  // namespace

absl::StatusOr<std::unique_ptr<PushedUpdates>> PushedUpdates::Start(
    const v1::GradientConfig& config, uint64_t env_steps, uint64_t version, std::vector<ParameterGroup> groups,
    Algorithm* algorithm, std::vector<LocalOptimizer>* optimizers, GradientService* service) {
  std::unique_ptr<PushedUpdates> updates(
      new PushedUpdates(config, env_steps, std::move(groups), algorithm, optimizers, service));
  std::vector<uint64_t> elements;
  for (const ParameterGroup& group : updates->groups_) {
    uint64_t& count = elements.emplace_back(0);
    for (const at::Tensor& parameter : group.parameters) count += static_cast<uint64_t>(parameter.numel());
  }
  service->Open(std::move(elements));
  RETURN_IF_ERROR(updates->PublishWeights(version));
  return updates;
}

PushedUpdates::PushedUpdates(const v1::GradientConfig& config, uint64_t env_steps, std::vector<ParameterGroup> groups,
                             Algorithm* algorithm, std::vector<LocalOptimizer>* optimizers, GradientService* service)
    : config_(config),
      groups_(std::move(groups)),
      algorithm_(algorithm),
      optimizers_(optimizers),
      service_(service),
      metrics_(at::zeros({static_cast<int64_t>(algorithm->MetricNames().size())})),
      staleness_(std::numeric_limits<double>::quiet_NaN()),
      env_steps_(env_steps) {}

absl::Status PushedUpdates::CheckSize(const std::string& algorithm, const std::vector<NamedTensor>& state) {
  size_t bytes = 0;
  for (const NamedTensor& named : state) bytes += named.tensor.nbytes();
  if (bytes <= kMaxStateBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s.network: with topology ASYNCHRONOUS_GRADIENTS its state, and that of target networks, travels "
      "in one message: expected at most %d bytes, got %d",
      algorithm, kMaxStateBytes, bytes));
}

absl::Status PushedUpdates::PublishWeights(uint64_t version) {
  ASSIGN_OR_RETURN(std::string weights, SaveTensors(algorithm_->StateTensors(), {}));
  service_->Publish(version, std::move(weights));
  return absl::OkStatus();
}

absl::StatusOr<UpdateSource::Arrival> PushedUpdates::Next(const Moment& moment, Deadline deadline) {
  push_ = service_->Next(deadline);
  if (!push_.has_value()) return absl::DeadlineExceededError("no gradient came");
  Newest& newest = newest_[push_->index];
  push_->again = newest.pusher == push_->pusher && push_->request.number() <= newest.number;
  if (!push_->again) newest = {push_->pusher, push_->request.number(), Judge(*push_, moment.version)};
  Arrival arrival = {.usable = !push_->again && newest.verdict == v1::APPLIED,
                     .waited_for = ReplaySampler::Wait::kActors,
                     .asked = std::chrono::steady_clock::now()};
  if (!arrival.usable) service_->Answer(*push_, newest.verdict);
  return arrival;
}

v1::GradientVerdict PushedUpdates::Judge(const GradientPush& push, uint64_t version) {
  // Taken, whatever becomes of what was learned from them.
  env_steps_ += push.request.env_steps();
  const bool finite = std::ranges::all_of(push.request.metrics(), [](float value) { return std::isfinite(value); });
  if (finite && push.request.metrics_size() == metrics_.numel()) {
    std::ranges::copy(push.request.metrics(), metrics_.data_ptr<float>());
  }
  if (!HasFiniteNorm(push.request.gradients())) {
    LogWarning("a gradient of actor %d, or its square, is not finite: dropped", push.index);
    return v1::NOT_FINITE;
  }
  const std::optional<uint64_t> lag = PolicyLag(version, push.request.policy_version());
  // Of weights that this learner does not know: of the life before it, which had got further than the checkpoint that
  // this one goes on from. They are not old. 0 is of none at all.
  if (!lag.has_value()) {
    return config_.max_staleness() > 0 && push.request.policy_version() == 0 ? v1::STALE : v1::APPLIED;
  }
  const auto staleness = static_cast<double>(*lag);
  service_->ObserveStaleness(staleness);
  staleness_ = std::isnan(staleness_) ? staleness : kStalenessDecay * staleness_ + (1 - kStalenessDecay) * staleness;
  return config_.max_staleness() > 0 && *lag > config_.max_staleness() ? v1::STALE : v1::APPLIED;
}

absl::Status PushedUpdates::Update(const Moment& moment) {
  const uint32_t group = push_->request.group();
  LocalOptimizer& optimizer = (*optimizers_)[push_->index % optimizers_->size()];
  optimizer.SetProgress(moment.progress);
  optimizer.Apply(group, Split(push_->request.gradients(), groups_[group].parameters));
  // Before anybody is given them. What is no part of the group is as it was.
  std::vector<NamedTensor> stepped;
  for (const at::Tensor& parameter : groups_[group].parameters) stepped.push_back({groups_[group].name, parameter});
  RETURN_IF_ERROR(CheckFinite(stepped, PolicyUpdate(moment.version) + 1, algorithm_->MetricNames(), metrics_));
  algorithm_->AfterUpdate(moment.progress);
  RETURN_IF_ERROR(PublishWeights(moment.version + 1));
  service_->Answer(*push_, v1::APPLIED);
  return absl::OkStatus();
}

std::vector<at::Tensor> PushedUpdates::Split(const std::string& bytes,
                                             const std::vector<at::Tensor>& parameters) const {
  std::vector<at::Tensor> gradients;
  size_t offset = 0;
  for (const at::Tensor& parameter : parameters) {
    at::Tensor& gradient = gradients.emplace_back(at::empty(parameter.sizes(), at::kFloat));
    std::memcpy(gradient.data_ptr<float>(), bytes.data() + offset, gradient.nbytes());
    offset += gradient.nbytes();
    if (parameter.device() != gradient.device()) gradient = gradient.to(parameter.device());
  }
  return gradients;
}

void PushedUpdates::Done(const Moment&) { push_.reset(); }

ReplaySampler::Stats PushedUpdates::stats() const {
  ReplaySampler::Stats stats;
  stats.env_steps = env_steps_;
  stats.writers = service_->clients();
  stats.wait = ReplaySampler::Wait::kActors;
  stats.waiting_for = stats.writers == 0 ? "actors: none is connected" : "actors: no gradient is here";
  return stats;
}

}  // namespace headrace
