// Work that goes behind that of the process's other threads where there are not cores for all.
//
//   const absl::Status written = RunAtLowPriority([&] { return Write(file); });
#ifndef HEADRACE_COMMON_LOW_PRIORITY_H_
#define HEADRACE_COMMON_LOW_PRIORITY_H_

#include <unistd.h>

#include <future>

namespace headrace {

// On a thread of its own; returns what that returns, or throws what it throws. It should seldom hold a mutex that the
// others want.
template <typename Work>
auto RunAtLowPriority(const Work& work) {
  constexpr int kNice = 10;  // a tenth of a core that another thread keeps busy
  return std::async(std::launch::async,
                    [&work] {
                      (void)!::nice(kNice);  // on Linux of this thread alone; whoever lowers it may not raise it again
                      return work();
                    })
      .get();
}

}  // namespace headrace

#endif  // HEADRACE_COMMON_LOW_PRIORITY_H_
