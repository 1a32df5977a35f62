#include "replay/selector/proportional.h"

#include <algorithm>
#include <array>
#include <vector>

namespace headrace {
namespace {

constexpr size_t kWidth = 16;  // children of a node

// A tree of sums: weights_ has one number for each slot, levels_[0] the sums of 16 weights each, levels_[1] the sums of
// 16 of those, and so on up to a level of one node, whose sum is the mass. A wide tree is flat: at a million items a
// draw touches five nodes where a binary tree has twenty.
//
// A changed sum is added up anew from its children, never corrected by the difference, so that it does not drift.
class ProportionalSelector final : public Selector {
 public:
  explicit ProportionalSelector(size_t capacity) {
    weights_.reserve(capacity + kWidth);
    Grow(1);
  }

  void Insert(uint32_t slot, float weight) override {
    if (slot >= weights_.size()) Grow(slot + 1);
    ++size_;
    Set(slot, weight);
  }

  void Update(uint32_t slot, float weight) override { Set(slot, weight); }

  void Remove(uint32_t slot) override {
    --size_;
    Set(slot, 0);
  }

  Draw Select(RandomStream& random) override {
    double left = random.Uniform() * mass();
    size_t node = 0;
    for (size_t level = levels_.size() - 1; level > 0; --level) {
      node = node * kWidth + Find(levels_[level - 1].data() + node * kWidth, left);
    }
    node = node * kWidth + Find(weights_.data() + node * kWidth, left);
    return {static_cast<uint32_t>(node), static_cast<double>(weights_[node]) / mass()};
  }

  size_t size() const override { return size_; }
  size_t drawable() const override { return drawable_; }
  double mass() const override { return levels_.back().front(); }

 private:
  template <typename Number>
  static double Sum(const Number* numbers) {
    // In four chains, which need not wait for each other.
    std::array<double, 4> sums{};
    for (size_t i = 0; i < kWidth; ++i) sums[i % 4] += numbers[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  // The child in whose part of their sum `left` lies; takes off what is before it. Where rounding leads past the end,
  // it is the last child that has a part at all.
  template <typename Number>
  static size_t Find(const Number* children, double& left) {
    size_t last = 0;
    for (size_t i = 0; i < kWidth; ++i) {
      if (children[i] <= 0) continue;
      if (left < children[i]) return i;
      left -= children[i];
      last = i;
    }
    left = children[last];  // its last item, in turn
    return last;
  }

  void Set(size_t slot, float weight) {
    drawable_ += (weight > 0 ? 1 : 0) - (weights_[slot] > 0 ? 1 : 0);
    weights_[slot] = weight;
    size_t node = slot / kWidth;
    levels_[0][node] = Sum(weights_.data() + node * kWidth);
    for (size_t level = 1; level < levels_.size(); ++level) {
      const size_t parent = node / kWidth;
      levels_[level][parent] = Sum(levels_[level - 1].data() + parent * kWidth);
      node = parent;
    }
  }

  // Makes room for so many slots. The levels are filled up to whole nodes, so that a sum never looks past the end.
  void Grow(size_t slots) {
    weights_.resize((slots + kWidth - 1) / kWidth * kWidth);
    size_t nodes = weights_.size() / kWidth;
    for (size_t level = 0;; ++level) {
      if (level == levels_.size()) {
        // A new root: it begins with the sum of what is there.
        levels_.emplace_back();
        if (level > 0) levels_[level].push_back(Sum(levels_[level - 1].data()));
      }
      if (nodes == 1) {
        levels_[level].resize(1);
        return;
      }
      nodes = (nodes + kWidth - 1) / kWidth;
      levels_[level].resize(nodes * kWidth);
    }
  }

  std::vector<float> weights_;               // 0: the slot is not present, or has no weight
  std::vector<std::vector<double>> levels_;  // from the leaves to the root
  size_t size_ = 0;
  size_t drawable_ = 0;
};

}  // namespace

std::unique_ptr<Selector> MakeProportionalSelector(size_t capacity) {
  return std::make_unique<ProportionalSelector>(capacity);
}

}  // namespace headrace
