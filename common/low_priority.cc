#include "common/low_priority.h"

#include <sys/resource.h>

#include <thread>

namespace headrace {
namespace {

// It gets a tenth of a core that another thread keeps busy.
constexpr int kNice = 10;

}  // namespace

void RunAtLowPriority(absl::FunctionRef<void()> work) {
  std::thread([&] {
    // Of this thread alone, in spite of what it is called; whoever lowers it may not raise it again.
    (void)::setpriority(PRIO_PROCESS, 0, kNice);
    work();
  }).join();
}

}  // namespace headrace
