#include "model/flat_parameters.h"

#include <functional>
#include <numeric>

#include "ATen/ops/zeros.h"
#include "torch/csrc/autograd/autograd.h"

namespace headrace {

FlatParameters::FlatParameters(const std::vector<ParameterShape>& shapes, at::Device device) : shapes_(shapes) {
  for (const ParameterShape& parameter : shapes_) {
    sizes_.push_back(
        std::accumulate(parameter.shape.begin(), parameter.shape.end(), int64_t{1}, std::multiplies<int64_t>()));
  }
  flat_ = at::zeros({std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0})},
                    at::TensorOptions().device(device).dtype(at::kFloat));
  views_ = Split(flat_);
}

std::vector<at::Tensor> FlatParameters::Split(const at::Tensor& flat) const {
  // One operation whose derivative is one operation; as many slices would each have one as large as all parameters.
  std::vector<at::Tensor> views = flat.split_with_sizes(sizes_);
  for (size_t i = 0; i < views.size(); ++i) views[i] = views[i].view(shapes_[i].shape);
  return views;
}

std::vector<NamedTensor> FlatParameters::Named(const std::string& prefix) const {
  std::vector<NamedTensor> named;
  for (size_t i = 0; i < views_.size(); ++i) named.push_back({prefix + "/" + shapes_[i].name, views_[i]});
  return named;
}

FlatParameters::Recorded FlatParameters::Record() const {
  Recorded recorded;
  recorded.flat = flat_.detach().requires_grad_();
  recorded.views = Split(recorded.flat);
  return recorded;
}

at::Tensor FlatParameters::Recorded::Gradient(const std::vector<at::Tensor>& outputs,
                                              const std::vector<at::Tensor>& output_gradients) const {
  return torch::autograd::grad(outputs, {flat}, output_gradients).front();
}

}  // namespace headrace
