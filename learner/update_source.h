// What a learner's updates are made of: batches that it draws from replay, or gradients that actors push.
//
//   ASSIGN_OR_RETURN(const UpdateSource::Arrival arrival, source->Next(moment, deadline));
//   if (arrival.usable) {
//     RETURN_IF_ERROR(source->Update(moment));
//     ... count the update, publish the weights ...
//     source->Done(moment);                     // of the new weights
//   }
//
// Everything belongs to the learner's thread but what is marked thread-safe.
#ifndef HEADRACE_LEARNER_UPDATE_SOURCE_H_
#define HEADRACE_LEARNER_UPDATE_SOURCE_H_

#include <chrono>
#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "replay/sampler.h"

namespace headrace {

class UpdateSource {
 public:
  using Deadline = std::chrono::steady_clock::time_point;
  struct Moment {
    uint64_t version = 0;            // packed, of the weights as they are
    uint64_t published_version = 0;  // of the newest that actors may have
    double progress = 0;             // Batch.progress
  };

  virtual ~UpdateSource() = default;

  struct Arrival {
    bool usable = false;                                             // false: of no use, and there may be more
    ReplaySampler::Wait waited_for = ReplaySampler::Wait::kNothing;  // until it was asked for
    Deadline asked{};                                                // when it was
  };
  // Waits for what the next update is made of. DeadlineExceeded: nothing came; stats() say what is missing. Otherwise
  // why there will be nothing any more.
  virtual absl::StatusOr<Arrival> Next(const Moment& moment, Deadline deadline) = 0;
  // Updates the algorithm with it.
  virtual absl::Status Update(const Moment& moment) = 0;
  // After Update, with its weights and those that were published since.
  virtual void Done(const Moment& moment) = 0;

  // In synchronous rounds: true, once, if what some actors have handed in for this round is lost and comes no more,
  // while they wait for new weights.
  virtual bool RoundLost() { return false; }

  // Losses and the like of the newest update, as Algorithm::Metrics.
  virtual at::Tensor Metrics() const = 0;
  // Of the newest update of which it was measured, in updates; NaN: of none so far.
  virtual double policy_lag() const = 0;
  // Of the actors' experience; what lies in replay is 0 where nothing does.
  virtual ReplaySampler::Stats stats() const = 0;
  // Of the whole run, whatever of them was lost since: never fewer than before. Thread-safe.
  virtual uint64_t env_steps() const = 0;
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_UPDATE_SOURCE_H_
