#include "replay/selector/proportional.h"

#include <algorithm>
#include <array>
#include <vector>

#include "common/huge_pages.h"

namespace headrace {
namespace {

constexpr size_t kWidth = 16;  // children of a node
constexpr double kJustBelowOne = 1 - 0x1p-53;

// A tree of sums: weights_ has one number for each slot, levels_[0] the sums of 16 weights each, levels_[1] the sums of
// 16 of those, and so on up to a level of one node, whose sum is the mass. A wide tree is flat: at a million items a
// draw touches five nodes where a binary tree has twenty.
//
// Beside each sum stands what it and those before it under the same parent come to, so that a draw finds its child by
// counting, without a branch. A changed sum is added up anew from its children, never corrected by the difference, so
// that it does not drift.
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
    Draw draw;
    SelectMany(random, {&draw, 1});
    return draw;
  }

  void SelectMany(RandomStream& random, std::span<Draw> draws) override {
    struct Place {
      double left;
      size_t node;
    };
    std::array<Place, 64> places;
    for (; !draws.empty(); draws = draws.subspan(std::min(draws.size(), places.size()))) {
      const std::span<Place> some(places.data(), std::min(draws.size(), places.size()));
      for (Place& place : some) place = {random.Uniform() * mass(), 0};
      // All of them down one level before the next: they wait for memory together.
      for (size_t level = levels_.size() - 1; level > 0; --level) {
        for (Place& place : some) {
          place.node = place.node * kWidth + Descend(&levels_[level - 1].running[place.node * kWidth], place.left);
          __builtin_prefetch(level > 1 ? static_cast<const void*>(&levels_[level - 2].running[place.node * kWidth])
                                       : &weights_[place.node * kWidth]);
        }
      }
      for (size_t i = 0; i < some.size(); ++i) {
        const float* const weights = &weights_[some[i].node * kWidth];
        std::array<double, kWidth> running;
        RunningSums(weights, running.data());
        const size_t child = Descend(running.data(), some[i].left);
        draws[i] = {static_cast<uint32_t>(some[i].node * kWidth + child), static_cast<double>(weights[child]) / mass()};
      }
    }
  }

  void SelectDistinct(RandomStream& random, std::span<Draw> draws) override {
    const double mass = this->mass();
    std::vector<float> weights(draws.size());
    for (size_t i = 0; i < draws.size(); ++i) {
      const uint32_t slot = Select(random).slot;
      weights[i] = weights_[slot];
      draws[i] = {slot, static_cast<double>(weights[i]) / mass};
      Set(slot, 0);  // it has no part in the draws that follow
    }
    for (size_t i = 0; i < draws.size(); ++i) Set(draws[i].slot, weights[i]);
  }

  size_t size() const override { return size_; }
  size_t drawable() const override { return drawable_; }
  double mass() const override { return levels_.back().sums.front(); }

 private:
  struct Level {
    std::vector<double, HugePageAllocator<double>> sums;
    std::vector<double, HugePageAllocator<double>> running;  // sums[0], sums[0] + sums[1], ..., anew every 16
  };

  // Returns the last of them, the sum of all.
  template <typename Number>
  static double RunningSums(const Number* numbers, double* running) {
    double sum = 0;
    for (size_t i = 0; i < kWidth; ++i) running[i] = sum += numbers[i];
    return sum;
  }

  // The child in whose part of the sum `left` lies; takes off what is before it. Where rounding leads past the end, it
  // is the last child that has a part at all.
  static size_t Descend(const double* running, double& left) {
    left = std::min(left, running[kWidth - 1] * kJustBelowOne);
    size_t child = 0;
    for (size_t i = 0; i < kWidth - 1; ++i) child += running[i] <= left;
    if (child > 0) left -= running[child - 1];
    return child;
  }

  void Set(size_t slot, float weight) {
    drawable_ += (weight > 0 ? 1 : 0) - (weights_[slot] > 0 ? 1 : 0);
    weights_[slot] = weight;
    size_t node = slot / kWidth;
    std::array<double, kWidth> running;
    double sum = RunningSums(&weights_[node * kWidth], running.data());
    for (size_t level = 0; level + 1 < levels_.size(); ++level) {
      levels_[level].sums[node] = sum;
      node /= kWidth;
      sum = RunningSums(&levels_[level].sums[node * kWidth], &levels_[level].running[node * kWidth]);
    }
    levels_.back().sums.front() = sum;
  }

  // Makes room for so many slots. The levels are filled up to whole nodes, so that a sum never looks past the end.
  void Grow(size_t slots) {
    weights_.resize((slots + kWidth - 1) / kWidth * kWidth);
    size_t nodes = weights_.size() / kWidth;
    for (size_t level = 0;; ++level) {
      if (level == levels_.size()) {
        // A new root, and the old one its first child.
        const double mass = level > 0 ? this->mass() : 0;
        levels_.emplace_back();
        levels_[level].sums.push_back(mass);
      }
      if (nodes == 1) {
        levels_[level].sums.resize(1);
        return;
      }
      nodes = (nodes + kWidth - 1) / kWidth;
      Level& grown = levels_[level];
      const bool was_root = grown.running.empty();
      grown.sums.resize(nodes * kWidth);
      grown.running.resize(nodes * kWidth);
      if (was_root) std::fill_n(grown.running.begin(), kWidth, grown.sums.front());
    }
  }

  std::vector<float, HugePageAllocator<float>> weights_;  // 0: the slot is not present, or has no weight
  std::vector<Level> levels_;                             // from the leaves to the root
  size_t size_ = 0;
  size_t drawable_ = 0;
};

}  // namespace

std::unique_ptr<Selector> MakeProportionalSelector(size_t capacity, const Arrivals*) {
  return std::make_unique<ProportionalSelector>(capacity);
}

}  // namespace headrace
