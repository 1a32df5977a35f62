// What a learner starts with instead of fresh networks: the tensors of a checkpoint of its own, or another run's.
//
// Not thread-safe.
#ifndef HEADRACE_LEARNER_RESTORE_H_
#define HEADRACE_LEARNER_RESTORE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "algorithm/algorithm.h"
#include "common/checkpoint.h"
#include "model/named_tensor.h"

namespace headrace {

// `path`: of a checkpoint, or of a run, whose newest one is taken. InvalidArgument: there is none with networks in it.
absl::StatusOr<LoadedCheckpoint> LoadNetworks(const std::string& path);

// Everything as it was. InvalidArgument: networks of another shape. DataLoss: a file is missing.
absl::Status RestoreAll(const LoadedCheckpoint& checkpoint, Algorithm& algorithm,
                        const std::vector<NamedTensor>& optimizer);
// The networks alone: optimisers and random numbers begin anew, or runs with different seeds would draw the same.
absl::Status RestoreNetworks(const LoadedCheckpoint& checkpoint, Algorithm& algorithm);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_RESTORE_H_
