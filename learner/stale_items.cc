#include "learner/stale_items.h"

#include <algorithm>
#include <span>

namespace headrace {

std::vector<uint32_t> StaleItems(const at::Tensor& versions, uint64_t version) {
  std::vector<uint32_t> stale;
  const auto rows = static_cast<size_t>(versions.size(1));
  for (int64_t item = 0; item < versions.size(0); ++item) {
    const std::span<const int64_t> of_item(versions.const_data_ptr<int64_t>() + item * versions.size(1), rows);
    const bool is_stale = std::any_of(of_item.begin(), of_item.end(),
                                      [&](int64_t row) { return row != 0 && static_cast<uint64_t>(row) < version; });
    if (is_stale) stale.push_back(static_cast<uint32_t>(item));
  }
  return stale;
}

}  // namespace headrace
