// What the learner asks of replay, from the configuration and what the algorithm wants.
#ifndef HEADRACE_LEARNER_TABLE_SPEC_H_
#define HEADRACE_LEARNER_TABLE_SPEC_H_

#include "absl/status/status.h"
#include "algorithm/algorithm.h"
#include "proto/config.pb.h"
#include "proto/replay.pb.h"
#include "replay/ratio.h"

namespace headrace {

// The table of each shard: capacity and budget are shared out equally.
v1::TableSpec MakeTableSpec(const v1::RunConfig& config, const Experience& experience);
// InvalidArgument: a batch has more items than a shard gives at once.
absl::Status CheckBatchSize(const v1::RunConfig& config, const Experience& experience);
// Updates per environment step, up to the end of the run.
Ratio MakeRatio(const v1::RunConfig& config, const Experience& experience);

}  // namespace headrace

#endif  // HEADRACE_LEARNER_TABLE_SPEC_H_
