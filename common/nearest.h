// Names that a mistyped word may have meant, for error messages.
//
//   NearestNames("Pendulun-v1", names, 2)  // {"Pendulum-v1", "InvertedPendulum-v5"}
//
// Thread-safe: pure functions.
#ifndef HEADRACE_COMMON_NEAREST_H_
#define HEADRACE_COMMON_NEAREST_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace headrace {

// How many letters must be inserted, deleted, replaced, or swapped with the next to turn one word into the other
// (optimal string alignment: none of them twice).
size_t EditDistance(std::string_view a, std::string_view b);

// At most `most` of the names, nearest first and ties in the order given. Letter case counts for nothing. Names that
// would have to be all but rewritten (by more than half of the longer word) are not suggested, unless one of the two
// words begins with the other.
std::vector<std::string> NearestNames(std::string_view word, const std::vector<std::string>& names, size_t most);

// "; did you mean X or Y?" from the names nearest to `word`, or "; there is " and all names where none is near.
std::string Suggestion(std::string_view word, const std::vector<std::string>& names);

}  // namespace headrace

#endif  // HEADRACE_COMMON_NEAREST_H_
