// The autotuner (learner/autotuner.h) of a run with central inference: threads that run the policy, threads of an
// update, and actors that act, judged by environment steps that updates have used.
//
//   InferenceTuning tuning(config, experience.batch_size * experience.item_stride, &inference);
//   tuning.Look(now, updates);   // now and then, between two updates
//
// An update begins on one thread: the threads of an operation wait for each other, and on a machine that is busy, as
// one with central inference is, all of them can take a hundred times as long (learner/thread_tuner.h).
//
// Belongs to the thread that does the updates, whose number of LibTorch's threads it sets.
#ifndef HEADRACE_LEARNER_INFERENCE_TUNING_H_
#define HEADRACE_LEARNER_INFERENCE_TUNING_H_

#include <chrono>
#include <cstdint>
#include <optional>

#include "learner/autotuner.h"
#include "learner/inference_service.h"
#include "proto/config.pb.h"

namespace headrace {

class InferenceTuning {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Whether the run is tuned; otherwise it keeps the numbers that are configured.
  static bool Wanted(const v1::RunConfig& config);
  // That there must be to choose from.
  static uint32_t MostPredictionThreads(const v1::RunConfig& config);

  // Sets what the run begins with. `inference` is open, and must outlive this.
  InferenceTuning(const v1::RunConfig& config, double steps_of_an_update, InferenceService* inference);

  // The time until the next Look says nothing of how fast updates are.
  void Pause() { looked_.reset(); }
  // So many updates have been done, since whenever.
  void Look(Time now, uint64_t updates);

 private:
  void Apply(size_t knob, int value);
  void Tell(const Autotuner::Change& change) const;

  const double steps_of_an_update_;
  InferenceService* const inference_;
  Autotuner tuner_;
  std::optional<Time> looked_;
  uint64_t updates_ = 0;  // then
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_INFERENCE_TUNING_H_
