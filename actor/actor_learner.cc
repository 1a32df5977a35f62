#include "actor/actor_learner.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "ATen/core/grad_mode.h"
#include "absl/strings/str_cat.h"
#include "common/policy_version.h"
#include "common/seconds.h"
#include "common/status_macros.h"
#include "model/weights.h"
#include "replay/row_layout.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<ActorLearner>> ActorLearner::Create(const Experience& experience,
                                                                   std::unique_ptr<Algorithm> algorithm,
                                                                   std::unique_ptr<Policy> policy,
                                                                   RandomStream exploration, GradientClient* client,
                                                                   ActorMetrics* metrics) {
  ASSIGN_OR_RETURN(std::unique_ptr<BatchSlots> slots, BatchSlots::Create(experience, 1, at::kCPU));
  std::unique_ptr<ActorLearner> learner(new ActorLearner(experience, std::move(algorithm), std::move(policy),
                                                         exploration, std::move(slots), client, metrics));
  RETURN_IF_ERROR(learner->SetTargets(experience));
  return learner;
}

ActorLearner::ActorLearner(const Experience& experience, std::unique_ptr<Algorithm> algorithm,
                           std::unique_ptr<Policy> policy, RandomStream exploration, std::unique_ptr<BatchSlots> slots,
                           GradientClient* client, ActorMetrics* metrics)
    : algorithm_(std::move(algorithm)),
      policy_(std::move(policy)),
      exploration_(exploration),
      slots_(std::move(slots)),
      client_(client),
      metrics_(metrics),
      rows_(experience.batch_size) {
  std::map<std::string, at::Tensor> learned;
  for (const NamedTensor& named : algorithm_->PolicyTensors()) learned[named.name] = named.tensor;
  for (const NamedTensor& named : policy_->Tensors()) policy_tensors_.emplace_back(named.tensor, learned[named.name]);
}

absl::Status ActorLearner::SetTargets(const Experience& experience) {
  const std::vector<std::span<std::byte>> blocks = slots_->Blocks()[0];
  const v1::Signature& signature = experience.signature;
  for (size_t i = 0; i < experience.slices.size(); ++i) {
    const v1::ColumnSlice& slice = experience.slices[i];
    const auto column = std::ranges::find(signature.columns(), slice.column(), &v1::Column::name);
    if (column == signature.columns().end()) {
      return absl::InvalidArgumentError(absl::StrCat("the signature has no column ", slice.column()));
    }
    targets_.push_back({.column = static_cast<size_t>(column - signature.columns().begin()),
                        .first_row = slice.first_row(),
                        .rows = slice.rows(),
                        .row_bytes = BytesOf(*column),
                        .memory = blocks[i].data()});
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ActorLearner::Act(const at::Tensor& observations, ActMode mode, at::Tensor& recurrent_state,
                                           at::Tensor& actions, at::Tensor& log_probs) {
  if (version_ == 0) {
    ASSIGN_OR_RETURN(const v1::PushResponse first, client_->WaitForWeights());
    RETURN_IF_ERROR(Load(first));
  }
  policy_->Act(observations, mode, exploration_, recurrent_state, actions, log_probs);
  return version_;
}

void ActorLearner::Append(uint32_t lane, std::span<const std::byte* const> columns, v1::EpisodeEnd end) {
  const int64_t row = rows_[lane]++;
  for (const Target& target : targets_) {
    const int64_t place = row - target.first_row;
    if (place < 0 || place >= target.rows) continue;
    std::memcpy(target.memory + (lane * target.rows + place) * target.row_bytes, columns[target.column],
                target.row_bytes);
  }
  if (end == v1::NOT_ENDED) ++steps_;
  if (end == v1::CUT) ++cut_lanes_;
}

absl::Status ActorLearner::Drain(Deadline) {
  if (cut_lanes_ < rows_.size()) return absl::OkStatus();
  PadLanes();
  pushed_ = absl::OkStatus();
  const auto begin = std::chrono::steady_clock::now();
  const double waited_before = metrics_->policy_wait_seconds.Value();
  algorithm_->Update(slots_->OnDevice(0), *this);
  const double passed = Seconds(std::chrono::steady_clock::now() - begin);
  metrics_->update_seconds.Increment(passed - (metrics_->policy_wait_seconds.Value() - waited_before));
  updated_ = true;
  std::ranges::fill(rows_, 0);
  cut_lanes_ = 0;
  return pushed_;
}

void ActorLearner::PadLanes() {
  for (size_t lane = 0; lane < rows_.size(); ++lane) {
    for (const Target& target : targets_) {
      std::byte* const rows = target.memory + lane * target.rows * target.row_bytes;
      for (int64_t row = std::max<int64_t>(1, rows_[lane] - target.first_row); row < target.rows; ++row) {
        std::memcpy(rows + row * target.row_bytes, rows + (row - 1) * target.row_bytes, target.row_bytes);
      }
    }
    slots_->Rows(0)[lane] = static_cast<int32_t>(rows_[lane]);
  }
}

void ActorLearner::Apply(size_t group, const std::vector<at::Tensor>& gradients) {
  if (!pushed_.ok()) return;
  v1::PushRequest request;
  request.set_policy_version(version_);
  request.set_env_steps(std::exchange(steps_, 0));
  request.set_group(static_cast<uint32_t>(group));
  if (updated_) {
    const at::Tensor metrics = algorithm_->Metrics().to(at::kCPU, at::kFloat);
    request.mutable_metrics()->Add(metrics.data_ptr<float>(), metrics.data_ptr<float>() + metrics.numel());
  }
  std::string& bytes = *request.mutable_gradients();
  for (const at::Tensor& gradient : gradients) {
    const at::Tensor values = gradient.to(at::kCPU, at::kFloat).contiguous();
    bytes.append(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
  }
  sent_bytes_ += bytes.size();
  absl::StatusOr<v1::PushResponse> response = client_->Push(request, &metrics_->policy_wait_seconds);
  pushed_ = response.ok() ? Load(*response) : response.status();
}

absl::Status ActorLearner::Load(const v1::PushResponse& response) {
  const at::NoGradGuard no_autograd;
  RETURN_IF_ERROR(LoadTensors(response.weights(), algorithm_->StateTensors()));
  RETURN_IF_ERROR(algorithm_->StateLoaded());
  for (auto& [acting, learned] : policy_tensors_) acting.copy_(learned);
  version_ = response.policy_version();
  metrics_->CountPolicy(PolicyUpdate(version_));
  return absl::OkStatus();
}

}  // namespace headrace
