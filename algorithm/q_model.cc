#include "algorithm/q_model.h"

#include "ATen/TensorOperators.h"
#include "ATen/ops/huber_loss.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/zeros.h"
#include "algorithm/epsilon_greedy.h"
#include "common/status_macros.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<QModel>> QModel::Create(const QNetworkSpec& spec, const Following& following,
                                                       const v1::EpsilonGreedyOptions& exploration, at::Device device,
                                                       RandomStream& random) {
  ASSIGN_OR_RETURN(std::unique_ptr<QNetwork> network, QNetwork::Create(spec, device));
  ASSIGN_OR_RETURN(std::unique_ptr<QNetwork> target, QNetwork::Create(spec, device));
  network->Initialize(random);
  target->parameters().flat().copy_(network->parameters().flat());
  return std::unique_ptr<QModel>(new QModel(following, exploration, std::move(network), std::move(target)));
}

QModel::QModel(const Following& following, const v1::EpsilonGreedyOptions& exploration,
               std::unique_ptr<QNetwork> network, std::unique_ptr<QNetwork> target)
    : following_(following),
      exploration_(exploration),
      network_(std::move(network)),
      target_(std::move(target)),
      epsilons_(MakeEpsilons(exploration, 0)),
      updates_(at::zeros({}, at::kLong)) {}

void QModel::AfterUpdate(double progress) {
  epsilons_.copy_(MakeEpsilons(exploration_, progress));
  updates_.add_(1);
  if (updates_.item<int64_t>() % following_.interval != 0) return;
  target_->parameters().flat().lerp_(network_->parameters().flat(), following_.tau);
}

std::vector<NamedTensor> QModel::PolicyTensors() const {
  std::vector<NamedTensor> tensors = network_->parameters().Named("network");
  tensors.push_back({"epsilon", epsilons_});
  return tensors;
}

std::vector<NamedTensor> QModel::StateTensors() const {
  std::vector<NamedTensor> tensors = PolicyTensors();
  for (NamedTensor& tensor : target_->parameters().Named("target_network")) tensors.push_back(std::move(tensor));
  tensors.push_back({"updates", updates_});
  return tensors;
}

const std::vector<std::string>& QModel::MetricNames() {
  static const auto* const names = new std::vector<std::string>{"losses/value", "charts/q_mean", "charts/epsilon"};
  return *names;
}

at::Tensor QModel::Metrics(const at::Tensor& loss, const at::Tensor& q_mean) const {
  return at::stack({loss.detach(), q_mean, epsilons_.mean().to(loss.device())});
}

at::Tensor ErrorLosses(v1::ErrorLoss loss, const at::Tensor& q, const at::Tensor& y) {
  return loss == v1::HUBER ? at::huber_loss(q, y, at::Reduction::None) : 0.5 * (q - y).square();
}

}  // namespace headrace
