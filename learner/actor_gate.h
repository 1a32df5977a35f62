// Which actors' requests are answered: those of the first so many actors that are connected, by their index. The others
// are held back until there is room for them.
//
//   ActorGate gate(&batcher, &held_back);
//   gate.Enter(stream, index);                        // as it opens
//   switch (gate.Admit(stream.get())) {...}           // at each request
//   gate.SetActors(2);                                // from now on two actors act
//   gate.Leave(stream.get());                         // as it closes
//
// An actor that is to be held back is told so once, and its next request waits: so it knows that no answer will come
// for a while, and takes no fallback. Who leaves makes room for the next, whoever that is, so that there are always as
// many as are to act. The batcher does not wait for those that are held back. A second stream of an index, of an actor
// that has returned before its old one is found to be gone, shares its place.
//
// Thread-safe.
#ifndef HEADRACE_LEARNER_ACTOR_GATE_H_
#define HEADRACE_LEARNER_ACTOR_GATE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "learner/inference_batcher.h"
#include "prometheus/gauge.h"

namespace headrace {

// One stream of an actor.
class GatedActor {
 public:
  virtual ~GatedActor() = default;
  // The request that had to wait may go on. Called without locks, on the thread that made room.
  virtual void GoOn() = 0;
};

class ActorGate {
 public:
  // `batcher` and `held_back`, which counts actors, must outlive this.
  ActorGate(InferenceBatcher* batcher, prometheus::Gauge* held_back) : batcher_(batcher), held_back_(held_back) {}

  void Enter(const std::shared_ptr<GatedActor>& actor, uint32_t index) ABSL_LOCKS_EXCLUDED(mutex_);
  // Before `actor` is destroyed.
  void Leave(const GatedActor* actor) ABSL_LOCKS_EXCLUDED(mutex_);

  enum class Admission {
    kGranted,
    kTell,  // it is held back from now on, and is to be told so in answer to this request
    kWait,  // GoOn will be called, unless it leaves before
  };
  // Of an actor that has entered and of which no request waits.
  Admission Admit(const GatedActor* actor) ABSL_LOCKS_EXCLUDED(mutex_);

  // At least 1; before the first call all act.
  void SetActors(size_t actors) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Place {
    std::weak_ptr<GatedActor> actor;
    uint32_t index;
    bool held_back = false;  // the batcher does not count it
    bool waiting = false;    // a request of it does
  };
  using Actors = std::vector<std::shared_ptr<GatedActor>>;

  void FindEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those that need to wait no longer, whose GoOn is to be called without the lock.
  Actors LetIn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  InferenceBatcher* const batcher_;
  prometheus::Gauge* const held_back_;

  Mutex mutex_;  // taken before the batcher's
  std::map<const GatedActor*, Place> places_ ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, int> streams_ ABSL_GUARDED_BY(mutex_);  // of each index
  size_t actors_ ABSL_GUARDED_BY(mutex_) = SIZE_MAX;
  uint64_t end_ ABSL_GUARDED_BY(mutex_) = UINT64_MAX;  // indices below act
};

}  // namespace headrace

#endif  // HEADRACE_LEARNER_ACTOR_GATE_H_
