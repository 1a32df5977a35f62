// For tests that draw with LibTorch's own generator: linked in, it makes them draw the same each time. Otherwise the
// generator's seed is another in each process, and a tolerance that is exceeded once in a thousand times is so in some
// run of all tests.
#include "ATen/Context.h"

namespace headrace {
namespace {

[[maybe_unused]] const bool seeded = [] {
  at::manual_seed(1);
  return true;
}();

}  // namespace
}  // namespace headrace
