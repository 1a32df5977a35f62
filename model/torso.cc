#include "model/torso.h"

#include <functional>
#include <numeric>
#include <string>
#include <utility>

#include "ATen/TensorOperators.h"
#include "ATen/ops/conv2d.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/max_pool2d.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace headrace {
namespace {

// Parameters are pairs of weight and bias.
void AddLayer(std::string name, std::vector<int64_t> weight, std::vector<ParameterShape>& parameters) {
  const int64_t outputs = weight.front();
  parameters.push_back({name + "/weight", std::move(weight)});
  parameters.push_back({name + "/bias", {outputs}});
}

class MlpTorso final : public Torso {
 public:
  MlpTorso(int64_t inputs, std::vector<int64_t> hidden, bool tanh) : inputs_(inputs), hidden_(hidden), tanh_(tanh) {
    for (size_t i = 0; i < hidden_.size(); ++i) {
      AddLayer(absl::StrCat("layer", i), {hidden_[i], i == 0 ? inputs : hidden_[i - 1]}, parameters_);
    }
  }

  const std::vector<ParameterShape>& parameters() const override { return parameters_; }
  int64_t features() const override { return hidden_.back(); }
  at::Tensor Forward(std::span<const at::Tensor> parameters, const at::Tensor& observations) const override {
    at::Tensor h = observations.reshape({observations.size(0), inputs_}).to(at::kFloat);
    for (size_t i = 0; i < hidden_.size(); ++i) {
      h = at::linear(h, parameters[2 * i], parameters[2 * i + 1]);
      h = tanh_ ? h.tanh() : h.relu();
    }
    return h;
  }

 private:
  const int64_t inputs_;
  const std::vector<int64_t> hidden_;
  const bool tanh_;
  std::vector<ParameterShape> parameters_;
};

struct Convolution {
  int64_t filters;
  int64_t size;
  int64_t stride;
};

// Convolutions without padding, one after the other, then one hidden layer; ReLU everywhere.
class ConvolutionalTorso final : public Torso {
 public:
  ConvolutionalTorso(std::vector<int64_t> planes, std::vector<Convolution> convolutions, int64_t features, double scale)
      : convolutions_(std::move(convolutions)), features_(features), scale_(scale) {
    int64_t channels = planes[0], height = planes[1], width = planes[2];
    for (size_t i = 0; i < convolutions_.size(); ++i) {
      const auto [filters, size, stride] = convolutions_[i];
      AddLayer(absl::StrCat("convolution", i), {filters, channels, size, size}, parameters_);
      channels = filters;
      height = (height - size) / stride + 1;
      width = (width - size) / stride + 1;
    }
    AddLayer("layer0", {features_, channels * height * width}, parameters_);
  }

  const std::vector<ParameterShape>& parameters() const override { return parameters_; }
  int64_t features() const override { return features_; }
  at::Tensor Forward(std::span<const at::Tensor> parameters, const at::Tensor& observations) const override {
    at::Tensor h = observations.to(at::kFloat);
    if (observations.scalar_type() == at::kByte && scale_ != 1) h = h * scale_;
    for (size_t i = 0; i < convolutions_.size(); ++i) {
      const int64_t stride = convolutions_[i].stride;
      h = at::conv2d(h, parameters[2 * i], parameters[2 * i + 1], {stride, stride}).relu();
    }
    return at::linear(h.flatten(1), parameters[parameters.size() - 2], parameters.back()).relu();
  }

 private:
  const std::vector<Convolution> convolutions_;
  const int64_t features_;
  const double scale_;
  std::vector<ParameterShape> parameters_;
};

// Each section: a convolution, a maximum over neighbours at every second place, two residual blocks of two
// convolutions; all of 3 x 3, padded.
class ImpalaTorso final : public Torso {
 public:
  explicit ImpalaTorso(std::vector<int64_t> planes) {
    int64_t channels = planes[0], height = planes[1], width = planes[2];
    for (size_t section = 0; section < kFilters.size(); ++section) {
      const int64_t filters = kFilters[section];
      const std::string prefix = absl::StrCat("section", section);
      AddLayer(prefix + "/convolution", {filters, channels, 3, 3}, parameters_);
      for (int block = 0; block < 2; ++block) {
        for (int i = 0; i < 2; ++i) {
          AddLayer(absl::StrCat(prefix, "/block", block, "/convolution", i), {filters, filters, 3, 3}, parameters_);
        }
      }
      channels = filters;
      height = (height + 1) / 2;
      width = (width + 1) / 2;
    }
    AddLayer("layer0", {kFeatures, channels * height * width}, parameters_);
  }

  const std::vector<ParameterShape>& parameters() const override { return parameters_; }
  int64_t features() const override { return kFeatures; }
  at::Tensor Forward(std::span<const at::Tensor> parameters, const at::Tensor& observations) const override {
    at::Tensor h = observations.to(at::kFloat);
    if (observations.scalar_type() == at::kByte) h = h * (1.0 / 255);
    size_t next = 0;
    const auto convolve = [&](const at::Tensor& x) {
      const at::Tensor y = at::conv2d(x, parameters[next], parameters[next + 1], {1, 1}, {1, 1});
      next += 2;
      return y;
    };
    for (size_t section = 0; section < kFilters.size(); ++section) {
      h = at::max_pool2d(convolve(h), {3, 3}, {2, 2}, {1, 1});
      for (int block = 0; block < 2; ++block) {
        const at::Tensor inner = convolve(h.relu());
        h = h + convolve(inner.relu());
      }
    }
    return at::linear(h.relu().flatten(1), parameters[next], parameters[next + 1]).relu();
  }

 private:
  static constexpr std::array<int64_t, 3> kFilters = {16, 32, 32};
  static constexpr int64_t kFeatures = 256;
  std::vector<ParameterShape> parameters_;
};

absl::Status CheckPlanes(const std::vector<int64_t>& observation, int64_t least, v1::Torso torso) {
  if (observation.size() == 3 && observation[1] >= least && observation[2] >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("network.torso: %s needs observations of [planes, height, width] with at least %d x %d, got [%s]",
                      v1::Torso_Name(torso), least, least, absl::StrJoin(observation, ", ")));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Torso>> MakeTorso(const v1::NetworkOptions& options,
                                                 const std::vector<int64_t>& observation) {
  switch (options.torso()) {
    case v1::MLP: {
      std::vector<int64_t> hidden(options.hidden().begin(), options.hidden().end());
      if (hidden.empty()) return absl::InvalidArgumentError("network.hidden: expected units of at least one layer");
      const int64_t inputs =
          std::accumulate(observation.begin(), observation.end(), int64_t{1}, std::multiplies<int64_t>());
      return std::make_unique<MlpTorso>(inputs, std::move(hidden), options.activation() == v1::TANH);
    }
    case v1::MINATAR:
      if (absl::Status status = CheckPlanes(observation, 3, options.torso()); !status.ok()) return status;
      return std::make_unique<ConvolutionalTorso>(observation, std::vector<Convolution>{{16, 3, 1}}, 128, 1.0);
    case v1::NATURE:
      if (absl::Status status = CheckPlanes(observation, 36, options.torso()); !status.ok()) return status;
      return std::make_unique<ConvolutionalTorso>(
          observation, std::vector<Convolution>{{32, 8, 4}, {64, 4, 2}, {64, 3, 1}}, 512, 1.0 / 255);
    case v1::IMPALA_DEEP:
      if (absl::Status status = CheckPlanes(observation, 8, options.torso()); !status.ok()) return status;
      return std::make_unique<ImpalaTorso>(observation);
  }
  return absl::InvalidArgumentError(absl::StrFormat("unknown torso %d", options.torso()));
}

}  // namespace headrace
