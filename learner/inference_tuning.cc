#include "learner/inference_tuning.h"

#include <algorithm>
#include <vector>

#include "ATen/Parallel.h"
#include "common/log.h"
#include "common/machine.h"
#include "common/seconds.h"

namespace headrace {
namespace {

// A policy for each takes its memory, also while it is idle.
constexpr uint32_t kMostPredictionThreads = 16;

enum KnobNumber : size_t { kPredictionThreads, kUpdateThreads, kActors };

std::vector<Autotuner::Knob> KnobsOf(const v1::RunConfig& config) {
  const int cores = static_cast<int>(UsableCores());
  const int actors = static_cast<int>(std::max(1u, config.actor().processes()));
  Autotuner::Knob update = {.name = "update_threads", .maximum = cores};
  if (config.learner().threads() > 0) {
    update.minimum = update.maximum = update.value = static_cast<int>(config.learner().threads());
  } else if (config.device() != "cpu") {
    update.minimum = update.value = cores;
  }
  return {{.name = "prediction_threads",
           .maximum = static_cast<int>(InferenceTuning::MostPredictionThreads(config)),
           .value = static_cast<int>(config.inference().threads())},
          update,
          {.name = "actors", .maximum = actors, .value = actors}};
}

}  // namespace

bool InferenceTuning::Wanted(const v1::RunConfig& config) {
  return config.topology() == v1::CENTRAL_INFERENCE && config.inference().autotune() && !config.deterministic();
}

uint32_t InferenceTuning::MostPredictionThreads(const v1::RunConfig& config) {
  return std::max(config.inference().threads(), std::min(UsableCores(), kMostPredictionThreads));
}

InferenceTuning::InferenceTuning(const v1::RunConfig& config, double steps_of_an_update, InferenceService* inference)
    : steps_of_an_update_(steps_of_an_update),
      inference_(inference),
      tuner_(KnobsOf(config), config.inference().trial_seconds()) {
  for (size_t knob = 0; knob < tuner_.knobs().size(); ++knob) Apply(knob, tuner_.knobs()[knob].value);
}

void InferenceTuning::Look(Time now, uint64_t updates) {
  const double steps = static_cast<double>(updates - updates_) * steps_of_an_update_;
  const double seconds = looked_.has_value() ? Seconds(now - *looked_) : 0;
  updates_ = updates;
  const bool first = !looked_.has_value();
  looked_ = now;
  if (first) return;
  const std::optional<Autotuner::Change> change = tuner_.Observe(seconds, steps);
  InferenceMetrics& metrics = inference_->metrics();
  if (const double rate = tuner_.steps_per_second(); rate > 0) metrics.learned_steps_per_second.Set(rate);
  metrics.trials.Increment(static_cast<double>(tuner_.trials()) - metrics.trials.Value());
  metrics.rollbacks.Increment(static_cast<double>(tuner_.rollbacks()) - metrics.rollbacks.Value());
  if (!change.has_value()) return;
  Apply(change->knob, change->value);
  if (change->reason == Autotuner::Reason::kKeep) Tell(*change);
}

void InferenceTuning::Apply(size_t knob, int value) {
  switch (knob) {
    case kPredictionThreads:
      inference_->SetThreads(static_cast<size_t>(value));
      break;
    case kUpdateThreads:
      at::set_num_threads(value);
      break;
    case kActors:
      // At its maximum nobody is held back, also if there are more actors than are configured.
      inference_->SetActors(value == tuner_.knobs()[knob].maximum ? SIZE_MAX : static_cast<size_t>(value));
      break;
  }
  inference_->metrics().tuned.With({tuner_.knobs()[knob].name}).Set(value);
}

void InferenceTuning::Tell(const Autotuner::Change& change) const {
  LogInfo("autotuner: %s from %d to %d: %.0f steps learned a second instead of %.0f", tuner_.knobs()[change.knob].name,
          change.from, change.value, change.tried, change.best);
}

}  // namespace headrace
