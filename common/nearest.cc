#include "common/nearest.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace headrace {

size_t EditDistance(std::string_view a, std::string_view b) {
  // rows[i % 3][j] is the distance between the first i letters of a and the first j letters of b.
  std::array<std::vector<size_t>, 3> rows;
  rows.fill(std::vector<size_t>(b.size() + 1));
  std::iota(rows[0].begin(), rows[0].end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    const std::vector<size_t>& before_last = rows[(i + 1) % 3];
    const std::vector<size_t>& last = rows[(i + 2) % 3];
    std::vector<size_t>& row = rows[i % 3];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

std::vector<std::string> NearestNames(std::string_view word, const std::vector<std::string>& names, size_t most) {
  const std::string lower_word = absl::AsciiStrToLower(std::string(word));
  std::vector<std::pair<size_t, const std::string*>> candidates;
  for (const std::string& name : names) {
    const std::string lower_name = absl::AsciiStrToLower(name);
    const size_t distance = EditDistance(lower_word, lower_name);
    const bool begins_alike = !word.empty() && !name.empty() &&
                              (absl::StartsWith(lower_name, lower_word) || absl::StartsWith(lower_word, lower_name));
    if (begins_alike || 2 * distance <= std::max(word.size(), name.size())) candidates.emplace_back(distance, &name);
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });

  std::vector<std::string> nearest;
  for (size_t i = 0; i < std::min(most, candidates.size()); ++i) nearest.push_back(*candidates[i].second);
  return nearest;
}

std::string Suggestion(std::string_view word, const std::vector<std::string>& names) {
  const std::vector<std::string> nearest = NearestNames(word, names, 2);
  if (!nearest.empty()) return absl::StrCat("; did you mean ", absl::StrJoin(nearest, " or "), "?");
  return absl::StrCat("; there is ", absl::StrJoin(names, ", "));
}

}  // namespace headrace
