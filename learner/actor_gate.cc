#include "learner/actor_gate.h"

#include "common/check.h"

namespace headrace {

void ActorGate::Enter(const std::shared_ptr<GatedActor>& actor, uint32_t index) {
  MutexLock lock(&mutex_);
  places_[actor.get()] = {.actor = actor, .index = index};
  ++streams_[index];
  batcher_->Connect();
  FindEnd();
}

void ActorGate::Leave(const GatedActor* actor) {
  Actors let_in;
  {
    MutexLock lock(&mutex_);
    const auto place = places_.find(actor);
    HEADRACE_CHECK(place != places_.end());
    const auto streams = streams_.find(place->second.index);
    if (--streams->second == 0) streams_.erase(streams);
    place->second.held_back ? held_back_->Decrement() : batcher_->Disconnect();
    places_.erase(place);
    FindEnd();
    let_in = LetIn();
  }
  for (const std::shared_ptr<GatedActor>& one : let_in) one->GoOn();
}

ActorGate::Admission ActorGate::Admit(const GatedActor* actor) {
  MutexLock lock(&mutex_);
  Place& place = places_.at(actor);
  if (place.index < end_) return Admission::kGranted;
  if (place.held_back) {
    place.waiting = true;
    return Admission::kWait;
  }
  place.held_back = true;
  held_back_->Increment();
  batcher_->Disconnect();
  return Admission::kTell;
}

void ActorGate::SetActors(size_t actors) {
  HEADRACE_CHECK(actors > 0);
  Actors let_in;
  {
    MutexLock lock(&mutex_);
    actors_ = actors;
    FindEnd();
    let_in = LetIn();
  }
  for (const std::shared_ptr<GatedActor>& one : let_in) one->GoOn();
}

void ActorGate::FindEnd() {
  end_ = UINT64_MAX;
  size_t before = 0;
  for (const auto& [index, streams] : streams_) {
    if (before++ == actors_) end_ = index;
  }
}

ActorGate::Actors ActorGate::LetIn() {
  Actors let_in;
  for (auto& [key, place] : places_) {
    if (!place.held_back || place.index >= end_) continue;
    place.held_back = false;
    held_back_->Decrement();
    batcher_->Connect();
    if (!place.waiting) continue;
    place.waiting = false;
    let_in.push_back(place.actor.lock());
  }
  return let_in;
}

}  // namespace headrace
