#include "replay/wait_list.h"

#include <utility>

namespace headrace {

void WaitList::Add(const void* owner, uint64_t steps, Wake wake) {
  const auto [place, is_new] = places_.try_emplace(owner, Place{.number = next_number_, .steps = 0, .woken = false});
  if (is_new) ++next_number_;
  if (place->second.woken) promised_ -= place->second.steps;
  place->second.steps = steps;
  place->second.woken = false;
  waiting_[place->second.number] = {owner, std::move(wake)};
}

std::vector<WaitList::Wake> WaitList::Take(uint64_t steps) {
  std::vector<Wake> due;
  while (!waiting_.empty() && promised_ < steps) {
    const auto front = waiting_.begin();
    Place& place = places_.find(front->second.owner)->second;
    place.woken = true;
    promised_ += place.steps;
    due.push_back(std::move(front->second.wake));
    waiting_.erase(front);
  }
  return due;
}

void WaitList::Remove(const void* owner) {
  const auto place = places_.find(owner);
  if (place == places_.end()) return;
  if (place->second.woken) {
    promised_ -= place->second.steps;
  } else {
    waiting_.erase(place->second.number);
  }
  places_.erase(place);
}

}  // namespace headrace
