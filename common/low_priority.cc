#include "common/low_priority.h"

#include <unistd.h>

#include <future>

namespace headrace {
namespace {

// It gets a tenth of a core that another thread keeps busy.
constexpr int kNice = 10;

}  // namespace

void RunAtLowPriority(absl::FunctionRef<void()> work) {
  std::async(std::launch::async, [&] {
    (void)!::nice(kNice);  // on Linux of this thread alone; whoever lowers it may not raise it again
    work();
  }).get();
}

}  // namespace headrace
