// For our own bugs, never for input: prints where and what, and aborts.
#ifndef HEADRACE_COMMON_CHECK_H_
#define HEADRACE_COMMON_CHECK_H_

#include <cstdio>
#include <cstdlib>

// Not named CHECK: LibTorch defines that.
#define HEADRACE_CHECK(condition)                                                        \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)

#endif  // HEADRACE_COMMON_CHECK_H_
