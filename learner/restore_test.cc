#include "learner/restore.h"

#include <filesystem>
#include <map>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/match.h"
#include "algorithm/local_optimizer.h"
#include "algorithm/registry.h"
#include "common/config.h"
#include "common/test_directory.h"
#include "gtest/gtest.h"
#include "model/weights.h"

namespace headrace {
namespace {

v1::EnvironmentSpec Environment() {
  v1::EnvironmentSpec spec;
  spec.set_name("Pendulum-v1");
  spec.mutable_observation()->set_data_type(v1::FLOAT32);
  spec.mutable_observation()->add_shape(3);
  spec.mutable_action()->set_data_type(v1::FLOAT32);
  spec.mutable_action()->add_shape(1);
  spec.add_action_low(-2);
  spec.add_action_high(2);
  return spec;
}

std::unique_ptr<Algorithm> NewAlgorithm(uint64_t seed) {
  v1::RunConfig config = *ParseRunConfig("environment { name: \"Pendulum-v1\" } sac { hidden: 4 }", "test", {});
  config.set_seed(seed);
  return *MakeAlgorithm(config, Environment());
}

std::map<std::string, at::Tensor> Copies(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, at::Tensor> copies;
  for (const NamedTensor& named : tensors) copies[named.name] = named.tensor.clone();
  return copies;
}

LoadedCheckpoint CheckpointOf(Algorithm& algorithm, const LocalOptimizer& optimizer) {
  LoadedCheckpoint checkpoint;
  checkpoint.files[kAlgorithmFile] = *SaveTensors(algorithm.StateTensors(), {});
  checkpoint.files[kOptimizerFile] = *SaveTensors(optimizer.StateTensors(), {});
  return checkpoint;
}

class RestoreTest : public testing::Test {
 protected:
  std::unique_ptr<Algorithm> other_ = NewAlgorithm(1);
  LocalOptimizer other_optimizer_{other_->ParameterGroups()};
  std::unique_ptr<Algorithm> algorithm_ = NewAlgorithm(2);
  LocalOptimizer optimizer_{algorithm_->ParameterGroups()};
};

TEST_F(RestoreTest, AllOfACheckpointIsAsItWas) {
  ASSERT_TRUE(RestoreAll(CheckpointOf(*other_, other_optimizer_), *algorithm_, optimizer_.StateTensors()).ok());
  const std::map<std::string, at::Tensor> expected = Copies(other_->StateTensors());
  for (const auto& [name, tensor] : Copies(algorithm_->StateTensors())) {
    EXPECT_TRUE(at::equal(tensor, expected.at(name))) << name;
  }
}

TEST_F(RestoreTest, AnotherRunGivesItsNetworksAndNotItsRandomNumbers) {
  const std::map<std::string, at::Tensor> before = Copies(algorithm_->StateTensors());
  ASSERT_TRUE(RestoreNetworks(CheckpointOf(*other_, other_optimizer_), *algorithm_).ok());
  const std::map<std::string, at::Tensor> expected = Copies(other_->StateTensors());
  for (const auto& [name, tensor] : Copies(algorithm_->StateTensors())) {
    EXPECT_TRUE(at::equal(tensor, (name == "generator" ? before : expected).at(name))) << name;
  }
}

// A GPU's generator has a state of 16 bytes, that of a CPU some thousands.
TEST_F(RestoreTest, ARunThatGoesOnOnAnotherDeviceDrawsAnew) {
  std::vector<NamedTensor> state = other_->StateTensors();
  for (NamedTensor& named : state) {
    if (named.name == "generator") named.tensor = at::zeros({16}, at::kByte);
  }
  LoadedCheckpoint checkpoint = CheckpointOf(*other_, other_optimizer_);
  checkpoint.files[kAlgorithmFile] = *SaveTensors(state, {});
  const at::Tensor generator = Copies(algorithm_->StateTensors()).at("generator");
  const absl::Status restored = RestoreAll(checkpoint, *algorithm_, optimizer_.StateTensors());
  ASSERT_TRUE(restored.ok()) << restored;
  EXPECT_TRUE(at::equal(Copies(algorithm_->StateTensors()).at("generator"), generator));
  EXPECT_TRUE(at::equal(Copies(algorithm_->StateTensors()).at("log_temperature"),
                        Copies(other_->StateTensors()).at("log_temperature")));
}

TEST_F(RestoreTest, AMissingFileIsNamed) {
  LoadedCheckpoint checkpoint = CheckpointOf(*other_, other_optimizer_);
  checkpoint.files.erase(kOptimizerFile);
  const absl::Status status = RestoreAll(checkpoint, *algorithm_, optimizer_.StateTensors());
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), kOptimizerFile)) << status;
}

TEST_F(RestoreTest, NetworksAreFoundInARunOrACheckpoint) {
  const TestDirectory directory;
  const LoadedCheckpoint saved = CheckpointOf(*other_, other_optimizer_);
  const std::string checkpoints = directory.path() + "/checkpoints";
  ASSERT_TRUE(SaveCheckpoint(checkpoints + "/" + CheckpointName(5), {}, {saved.files.begin(), saved.files.end()}).ok());
  ASSERT_TRUE(SaveCheckpoint(checkpoints + "/" + kBestCheckpoint, {}, {{kPolicyFile, "policy"}}).ok());
  EXPECT_EQ(LoadNetworks(directory.path())->files, saved.files);
  EXPECT_EQ(LoadNetworks(checkpoints + "/" + CheckpointName(5))->files, saved.files);
  for (const std::string& path : {directory.path() + "/nowhere", checkpoints + "/" + kBestCheckpoint}) {
    const absl::Status status = LoadNetworks(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), path)) << status;
  }
  std::filesystem::resize_file(absl::StrCat(checkpoints, "/", CheckpointName(5), "/", kAlgorithmFile), 10);
  const absl::Status damaged = LoadNetworks(directory.path()).status();
  EXPECT_TRUE(absl::StrContains(damaged.message(), "is usable")) << damaged;
}

}  // namespace
}  // namespace headrace
