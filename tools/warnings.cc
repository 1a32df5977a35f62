#include "tools/warnings.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace headrace {
namespace {

// Of a table whose items stay until there are newer ones.
void CheckReplay(const v1::RunConfig& config, const Experience& experience, const Estimate::Replay& replay,
                 std::vector<std::string>& warnings) {
  if (replay.fitting < replay.capacity) {
    warnings.push_back(
        absl::StrFormat("replay.budget_bytes: has place for %d of the %d items of replay.capacity; for all of them it "
                        "would be %d bytes",
                        replay.fitting, replay.capacity, replay.capacity_bytes));
  }
  const uint32_t actors = config.actor().processes(), shards = config.replay().shards();
  if (actors % shards != 0) {
    warnings.push_back(absl::StrFormat(
        "replay.shards: %d actors cannot be spread evenly over %d shards, each of which holds "
        "its part of replay.capacity: %s",
        actors, shards, actors < shards ? "some stay empty" : "where there are more, items go earlier"));
  }
  const uint64_t held = std::min(replay.fitting, replay.capacity);
  if (held < experience.batch_size) {
    warnings.push_back(
        absl::StrFormat("replay.capacity: replay holds %d items, fewer than the %d of a batch, in which "
                        "they come again and again",
                        held, experience.batch_size));
  } else if (config.replay().min_steps() > held * experience.item_stride) {
    warnings.push_back(
        absl::StrFormat("replay.min_steps: of the first %d steps replay holds the last %d, so that some "
                        "are gone before the first update",
                        config.replay().min_steps(), held * experience.item_stride));
  }
}

}  // namespace

std::vector<std::string> FindWarnings(const v1::RunConfig& config, const Experience& experience,
                                      const Estimate& estimate) {
  std::vector<std::string> warnings;
  if (estimate.replay.has_value() && !experience.queue) {
    CheckReplay(config, experience, *estimate.replay, warnings);
  }
  const uint64_t steps = config.stop().env_steps();
  if (steps > 0 && experience.random_steps >= steps) {
    warnings.push_back(
        absl::StrFormat("stop.env_steps: the run ends after %d steps, and the first %d have random actions", steps,
                        experience.random_steps));
  }
  if (steps > 0 && config.evaluation().processes() > 0 && config.evaluation().interval_steps() >= steps) {
    warnings.push_back(
        absl::StrFormat("evaluation.interval_steps: the first evaluation would be after %d steps, and the "
                        "run ends after %d: only its last weights are evaluated",
                        config.evaluation().interval_steps(), steps));
  }
  const double delay = config.environment().step_delay_seconds();
  if (config.hang_seconds() > 0 && delay >= config.hang_seconds()) {
    warnings.push_back(
        absl::StrFormat("hang_seconds: every step of an environment takes %g s and more, and after %d s an "
                        "actor takes itself for hung",
                        delay, config.hang_seconds()));
  }
  return warnings;
}

}  // namespace headrace
