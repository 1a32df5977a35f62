// Those who wait for steps, in the order in which they came. A grant wakes as many from the front as it admits, and no
// more: waking all for one step would cost the more the more there are.
//
//   list.Add(stream, 16, retry);                       // nothing is left for its 16 steps
//   std::vector<WaitList::Wake> due = list.Take(100);  // 100 steps are left
//   ... release the mutex ...
//   for (const WaitList::Wake& wake : due) wake();
//   list.Remove(stream);                               // it has had its turn
//
// Who was woken has been promised its steps, and keeps its place until it is removed: if it has to wait again after
// all, it is not put behind those who came later.
//
// Not thread-safe: the table's mutex guards it.
#ifndef HEADRACE_REPLAY_WAIT_LIST_H_
#define HEADRACE_REPLAY_WAIT_LIST_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace headrace {

class WaitList {
 public:
  using Wake = std::function<void()>;

  // Of each owner there is one entry; a newer one takes the older one's place.
  void Add(const void* owner, uint64_t steps, Wake wake);
  // Wakes those whose turn it is when `steps` are left; like an insertion, the last may take more than there are.
  std::vector<Wake> Take(uint64_t steps);
  // What it was promised goes to the others with the next Take.
  void Remove(const void* owner);

  // Those who have not been woken.
  size_t size() const { return waiting_.size(); }

 private:
  struct Place {
    uint64_t number;
    uint64_t steps;
    bool woken;
  };
  struct Waiting {
    const void* owner;
    Wake wake;
  };

  absl::flat_hash_map<const void*, Place> places_;  // by owner
  std::map<uint64_t, Waiting> waiting_;             // by number
  uint64_t next_number_ = 0;
  uint64_t promised_ = 0;  // steps, to those who were woken
};

}  // namespace headrace

#endif  // HEADRACE_REPLAY_WAIT_LIST_H_
