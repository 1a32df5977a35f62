#include "model/q_network.h"

#include "ATen/ops/linear.h"
#include "common/status_macros.h"
#include "model/initialization.h"

namespace headrace {

absl::StatusOr<std::unique_ptr<QNetwork>> QNetwork::Create(const QNetworkSpec& spec, at::Device device) {
  ASSIGN_OR_RETURN(std::unique_ptr<Torso> torso, MakeTorso(spec.network, spec.observation));
  std::vector<ParameterShape> shapes;
  for (const ParameterShape& parameter : torso->parameters()) {
    shapes.push_back({"torso/" + parameter.name, parameter.shape});
  }
  shapes.push_back({"head/weight", {spec.actions, torso->features()}});
  shapes.push_back({"head/bias", {spec.actions}});
  return std::unique_ptr<QNetwork>(new QNetwork(std::move(torso), FlatParameters(shapes, device)));
}

void QNetwork::Initialize(RandomStream& random) {
  const std::vector<at::Tensor>& views = parameters_.views();
  for (size_t i = 0; i < views.size(); i += 2) FillFanInUniform(views[i], views[i + 1], random);
}

at::Tensor QNetwork::Forward(std::span<const at::Tensor> parameters, const at::Tensor& observations) const {
  const size_t torso = parameters.size() - 2;
  return at::linear(torso_->Forward(parameters.first(torso), observations), parameters[torso], parameters[torso + 1]);
}

}  // namespace headrace
