#include "tools/estimate.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "algorithm/local_optimizer.h"
#include "algorithm/registry.h"
#include "common/status_macros.h"
#include "learner/table_spec.h"
#include "model/named_tensor.h"
#include "replay/item_store.h"
#include "replay/row_layout.h"

namespace headrace {
namespace {

uint64_t BytesOf(const std::vector<NamedTensor>& tensors) {
  uint64_t bytes = 0;
  for (const NamedTensor& tensor : tensors) bytes += tensor.tensor.nbytes();
  return bytes;
}

uint64_t BatchBytes(const RowLayout& layout, const Experience& experience) {
  uint64_t bytes = 0;
  for (const v1::ColumnSlice& slice : experience.slices) {
    bytes += layout.columns()[layout.Find(slice.column())].bytes * slice.rows() * std::max(slice.stack(), 1u) *
             experience.batch_size;
  }
  return bytes;
}

}  // namespace

absl::StatusOr<Estimate> EstimateRun(const v1::RunConfig& config, const v1::EnvironmentSpec& environment,
                                     const Experience& experience) {
  ASSIGN_OR_RETURN(const RowLayout layout, RowLayout::Create(experience.signature));
  ASSIGN_OR_RETURN(const std::unique_ptr<Algorithm> algorithm, MakeAlgorithm(config, environment));
  const bool gradients = config.topology() == v1::ASYNCHRONOUS_GRADIENTS;
  const bool central = config.topology() == v1::CENTRAL_INFERENCE;  // no weights leave the learner
  const uint64_t batch_bytes = BatchBytes(layout, experience);
  const uint64_t policy_bytes = BytesOf(algorithm->PolicyTensors());
  const uint64_t state_bytes = BytesOf(algorithm->StateTensors());
  Estimate estimate;

  uint64_t replay_bytes = 0, replay_memory_bytes = 0;
  if (!gradients) {
    const v1::ReplayConfig& replay = config.replay();
    const uint64_t per_item =
        layout.most_row_bytes() * experience.item_stride + ItemStore::BookBytes(experience.sampler, experience.remover);
    const uint64_t capacity = MakeTableSpec(config, experience).max_items() * replay.shards();
    replay_bytes = std::min(capacity * per_item, replay.budget_bytes());
    replay_memory_bytes = replay.shards() * kReplayProcessBytes + replay_bytes;
    estimate.replay = {.row_bytes = layout.most_row_bytes(),
                       .capacity = capacity,
                       .capacity_bytes = capacity * per_item,
                       .fitting = replay.budget_bytes() / per_item,
                       .memory_bytes = replay_memory_bytes,
                       .insert_bytes_per_step = layout.payload_bytes(),
                       .sample_bytes_per_update = batch_bytes};
  }

  Estimate::Learner& learner = estimate.learner;
  learner.algorithm_bytes = state_bytes;
  learner.optimizer_bytes = BytesOf(LocalOptimizer(algorithm->ParameterGroups()).StateTensors());
  learner.prefetched_batch_bytes = gradients ? 0 : batch_bytes * (config.learner().prefetch() + 1);
  learner.memory_bytes = kTorchProcessBytes + state_bytes + learner.optimizer_bytes + learner.prefetched_batch_bytes;

  estimate.actors = {
      .processes = config.actor().processes() + config.evaluation().processes(),
      .memory_bytes_each = kTorchProcessBytes + policy_bytes + (gradients ? state_bytes + batch_bytes : 0)};

  const double interval = config.learner().publish_interval_seconds();
  estimate.network.weights_bytes_per_version = policy_bytes;
  if (interval > 0 && !central && !gradients) {
    estimate.network.weights_bytes_per_second_at_most =
        static_cast<double>(policy_bytes) * config.actor().processes() / interval;
  }
  // The gradients, and the weights of the answer.
  if (gradients) estimate.network.push_bytes_per_update = policy_bytes + state_bytes;

  Estimate::Disk& disk = estimate.disk;
  disk.checkpoint_bytes =
      policy_bytes + state_bytes + learner.optimizer_bytes + (config.checkpoint().replay() ? replay_bytes : 0);
  disk.checkpoints_kept = config.checkpoint().keep();
  // Of everything that came since the oldest checkpoint it is needed for, which is not known before; as much as replay
  // holds is a fair guess.
  disk.journal_bytes = config.replay().journal() ? replay_bytes : 0;

  estimate.memory_bytes = kSharedLibraryBytes + replay_memory_bytes + learner.memory_bytes +
                          estimate.actors.processes * estimate.actors.memory_bytes_each;
  // On disk there are one more, while it is written, and the policy of the best evaluation.
  estimate.disk_bytes =
      kProgramBytes + (disk.checkpoints_kept + 1) * disk.checkpoint_bytes + policy_bytes + disk.journal_bytes;
  return estimate;
}

}  // namespace headrace
