// Work that goes behind that of the process's other threads where there are not cores for all.
//
//   RunAtLowPriority([&] { status = Write(file); });
#ifndef HEADRACE_COMMON_LOW_PRIORITY_H_
#define HEADRACE_COMMON_LOW_PRIORITY_H_

#include "absl/functional/function_ref.h"

namespace headrace {

// On a thread of its own; returns, or throws, when that has. It should seldom hold a mutex that the others want.
void RunAtLowPriority(absl::FunctionRef<void()> work);

}  // namespace headrace

#endif  // HEADRACE_COMMON_LOW_PRIORITY_H_
