// Every selector of the list, against a plain model.
#include <algorithm>
#include <array>
#include <cmath>
#include <list>
#include <map>

#include "gtest/gtest.h"
#include "replay/selector/selector.h"

namespace headrace {
namespace {

RandomStream TestStream() { return RandomStream(1, StreamRole::kTest, 0, StreamPurpose::kSampling); }

struct ModelItem {
  uint32_t slot;
  float weight;
};
using Model = std::list<ModelItem>;  // oldest first

double MassOf(const Model& model) {
  double mass = 0;
  for (const ModelItem& item : model) mass += item.weight;
  return mass;
}

// Whether the selector may draw this item, and with which probability.
double ProbabilityOf(v1::Selector selector, const Model& model, const ModelItem& item) {
  const auto lighter = [](const ModelItem& a, const ModelItem& b) { return a.weight < b.weight; };
  switch (selector) {
    case v1::UNIFORM:
      return 1 / static_cast<double>(model.size());
    case v1::FIRST_IN_FIRST_OUT:
      return item.slot == model.front().slot;
    case v1::LAST_IN_FIRST_OUT:
      return item.slot == model.back().slot;
    case v1::PROPORTIONAL:
      return item.weight / MassOf(model);
    case v1::MINIMUM_PRIORITY:
      return item.weight == std::min_element(model.begin(), model.end(), lighter)->weight;
    case v1::MAXIMUM_PRIORITY:
      return item.weight == std::max_element(model.begin(), model.end(), lighter)->weight;
    default:
      ADD_FAILURE() << "say here what selector " << selector << " does";
      return 0;
  }
}

// A selector and the arrivals that it may look at.
class Tested {
 public:
  Tested(const SelectorFacts& facts, size_t capacity)
      : arrivals_(capacity), selector_(facts.make(capacity, &arrivals_)) {}
  void Insert(uint32_t slot, float weight) {
    arrivals_.Add(slot);
    selector_->Insert(slot, weight);
  }
  void Remove(uint32_t slot) {
    selector_->Remove(slot);
    arrivals_.Remove(slot);
  }
  Selector* operator->() const { return selector_.get(); }

 private:
  Arrivals arrivals_;
  const std::unique_ptr<Selector> selector_;
};

class SelectorTest : public testing::TestWithParam<SelectorFacts> {};

INSTANTIATE_TEST_SUITE_P(All, SelectorTest, testing::ValuesIn(AllSelectors()),
                         [](const auto& info) { return info.param.name; });

TEST_P(SelectorTest, KnowsExactlyTheSlotsThatAreInAndTheirWeights) {
  constexpr uint32_t kCapacity = 300;  // beyond 16 * 16, so that a tree of 16 has several levels
  Tested selector(GetParam(), kCapacity);
  const bool weighted = GetParam().selector == v1::PROPORTIONAL;
  Model present;
  RandomStream random = TestStream();
  // Few different ones, so that some are equal, and some 0.
  const auto weight = [&] { return static_cast<float>(random.Below(8)) / 4; };
  for (int i = 0; i < 50000; ++i) {
    // The size drifts between empty and full.
    const bool growing = i / 3000 % 2 == 0;
    const uint32_t slot = static_cast<uint32_t>(random.Below(kCapacity));
    const auto found =
        std::find_if(present.begin(), present.end(), [&](const ModelItem& item) { return item.slot == slot; });
    if (found == present.end() && (growing || random.Uniform() < 0.2)) {
      present.push_back({slot, weight()});
      selector.Insert(slot, present.back().weight);
    } else if (found != present.end() && (!growing || random.Uniform() < 0.2)) {
      selector.Remove(slot);
      present.erase(found);
    } else if (found != present.end()) {
      found->weight = weight();
      selector->Update(slot, found->weight);
    }
    const auto drawable =
        weighted ? std::count_if(present.begin(), present.end(), [](const ModelItem& item) { return item.weight > 0; })
                 : static_cast<ptrdiff_t>(present.size());
    ASSERT_EQ(selector->size(), present.size());
    ASSERT_EQ(selector->drawable(), static_cast<size_t>(drawable));
    // Multiples of a quarter add up without rounding.
    ASSERT_EQ(selector->mass(), weighted ? MassOf(present) : static_cast<double>(present.size()));
    if (drawable == 0) continue;
    const Selector::Draw draw = selector->Select(random);
    const auto drawn =
        std::find_if(present.begin(), present.end(), [&](const ModelItem& item) { return item.slot == draw.slot; });
    ASSERT_NE(drawn, present.end());
    ASSERT_GT(draw.probability, 0);
    ASSERT_DOUBLE_EQ(draw.probability, ProbabilityOf(GetParam().selector, present, *drawn));
  }
}

TEST_P(SelectorTest, DrawsAsOftenAsItsProbabilitiesSay) {
  constexpr uint32_t kSlots = 50;
  constexpr int kDraws = 200000;
  Tested selector(GetParam(), 2 * kSlots);
  for (uint32_t slot = 0; slot < 2 * kSlots; ++slot) selector.Insert(slot, 1.0f + static_cast<float>(slot));
  for (uint32_t slot = 0; slot < 2 * kSlots; slot += 2) selector.Remove(slot);
  std::map<uint32_t, int> counts;
  std::map<uint32_t, double> probabilities;
  RandomStream random = TestStream();
  for (int i = 0; i < kDraws; ++i) {
    const Selector::Draw draw = selector->Select(random);
    ++counts[draw.slot];
    probabilities[draw.slot] = draw.probability;
  }
  double chi_square = 0;
  double total = 0;
  for (const auto& [slot, probability] : probabilities) {
    EXPECT_EQ(slot % 2, 1u);
    const double expected = probability * kDraws;
    chi_square += std::pow(counts[slot] - expected, 2) / expected;
    total += probability;
  }
  EXPECT_NEAR(total, 1, 1e-9);
  // With 49 degrees of freedom 85 is exceeded once in a thousand times; the stream is fixed, so it is never by chance.
  EXPECT_LT(chi_square, 85);
}

TEST_P(SelectorTest, DrawsTheSameWithTheSameStream) {
  Tested a(GetParam(), 100);
  Tested b(GetParam(), 100);
  for (uint32_t slot = 0; slot < 100; ++slot) {
    a.Insert(slot, 1.0f + static_cast<float>(slot % 7));
    b.Insert(slot, 1.0f + static_cast<float>(slot % 7));
  }
  RandomStream random_a = TestStream();
  RandomStream random_b = TestStream();
  for (int i = 0; i < 100; ++i) {
    const uint32_t slot = a->Select(random_a).slot;
    EXPECT_EQ(slot, b->Select(random_b).slot);
    a.Remove(slot);
    b.Remove(slot);
  }
}

TEST_P(SelectorTest, DrawsManyAsOneByOne) {
  Tested selector(GetParam(), 1000);
  for (uint32_t slot = 0; slot < 1000; ++slot) selector.Insert(slot, static_cast<float>(slot % 7));
  RandomStream random_many = TestStream();
  RandomStream random_one = TestStream();
  for (const size_t count : {1, 63, 200, 0, 64}) {
    std::vector<Selector::Draw> draws(count);
    selector->SelectMany(random_many, draws);
    for (const Selector::Draw& draw : draws) {
      const Selector::Draw one = selector->Select(random_one);
      ASSERT_EQ(draw.slot, one.slot);
      ASSERT_EQ(draw.probability, one.probability);
    }
  }
}

// Each draw is Select's of what is left, and in the end all is as it was.
TEST_P(SelectorTest, DrawsNoSlotTwiceWithoutReplacement) {
  constexpr uint32_t kSlots = 300;
  Tested selector(GetParam(), kSlots);
  Tested untouched(GetParam(), kSlots);
  Model present;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    present.push_back({slot, static_cast<float>(slot * 7 % kSlots)});  // one of them 0, no two equal
    selector.Insert(slot, present.back().weight);
    untouched.Insert(slot, present.back().weight);
  }
  RandomStream random = TestStream();
  for (const size_t count : {size_t{1}, size_t{100}, selector->drawable()}) {
    std::vector<Selector::Draw> draws(count);
    selector->SelectDistinct(random, draws);
    Model left = present;
    for (const Selector::Draw& draw : draws) {
      const auto drawn =
          std::find_if(left.begin(), left.end(), [&](const ModelItem& item) { return item.slot == draw.slot; });
      ASSERT_NE(drawn, left.end()) << "slot " << draw.slot << " came twice";
      ASSERT_GT(ProbabilityOf(GetParam().selector, left, *drawn), 0);
      const bool by_chance = GetParam().selector == v1::UNIFORM || GetParam().selector == v1::PROPORTIONAL;
      ASSERT_DOUBLE_EQ(draw.probability, by_chance ? ProbabilityOf(GetParam().selector, present, *drawn) : 1);
      left.erase(drawn);
    }
    ASSERT_EQ(selector->size(), kSlots);
    ASSERT_EQ(selector->drawable(), untouched->drawable());
    ASSERT_EQ(selector->mass(), untouched->mass());
    RandomStream once = TestStream();
    RandomStream again = TestStream();
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(selector->Select(once).slot, untouched->Select(again).slot);
  }
}

// Of 5 slots two: first i and then j comes with probability p_i p_j / (1 - p_i).
TEST_P(SelectorTest, DrawsPairsAsOftenAsTheyShouldWithoutReplacement) {
  constexpr uint32_t kSlots = 5;
  constexpr int kPairs = 200000;
  Tested selector(GetParam(), kSlots);
  Model present;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    present.push_back({slot, 1.0f + static_cast<float>(slot)});
    selector.Insert(slot, present.back().weight);
  }
  std::map<std::pair<uint32_t, uint32_t>, int> counts;
  RandomStream random = TestStream();
  for (int i = 0; i < kPairs; ++i) {
    std::array<Selector::Draw, 2> draws;
    selector->SelectDistinct(random, draws);
    ++counts[{draws[0].slot, draws[1].slot}];
  }
  const auto chi_square = [&](double bias) {
    double sum = 0;
    for (const ModelItem& first : present) {
      Model left = present;
      std::erase_if(left, [&](const ModelItem& item) { return item.slot == first.slot; });
      for (const ModelItem& second : left) {
        const double expected = kPairs * ProbabilityOf(GetParam().selector, present, first) *
                                ProbabilityOf(GetParam().selector, left, second);
        const double seen = counts[{first.slot, second.slot}] * (second.slot % 2 == 0 ? 1 + bias : 1 - bias);
        if (expected == 0) {
          EXPECT_EQ(seen, 0);
        } else {
          sum += std::pow(seen - expected, 2) / expected;
        }
      }
    }
    return sum;
  };
  // With 19 degrees of freedom 44 is exceeded once in a thousand times.
  EXPECT_LT(chi_square(0), 44);
  EXPECT_GT(std::max(chi_square(0.02), chi_square(-0.02)), 44) << "it would not see a bias of 2%";
}

// Sums that are corrected by differences drift; these must not.
TEST(ProportionalSelectorTest, ForgetsLargeWeightsThatAreGone) {
  Tested selector(*FindSelector(v1::PROPORTIONAL), 1000);
  for (uint32_t slot = 0; slot < 1000; ++slot) selector.Insert(slot, 0.125f);
  RandomStream random = TestStream();
  for (int i = 0; i < 100000; ++i) {
    const auto slot = static_cast<uint32_t>(random.Below(1000));
    selector->Update(slot, 1e30f * static_cast<float>(random.Uniform()));
    selector->Update(slot, 0.125f);
  }
  EXPECT_EQ(selector->mass(), 125);
}

TEST(ProportionalSelectorTest, NeverDrawsWhatHasNoWeight) {
  Tested selector(*FindSelector(v1::PROPORTIONAL), 5000);
  for (uint32_t slot = 0; slot < 5000; ++slot) selector.Insert(slot, slot == 4321 ? 1e-30f : 0.0f);
  RandomStream random = TestStream();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(selector->Select(random).slot, 4321u);
}

TEST(SelectorRegistryTest, FindsEverySelectorAndNoOther) {
  for (const SelectorFacts& facts : AllSelectors()) EXPECT_EQ(FindSelector(facts.selector), &facts) << facts.name;
  EXPECT_EQ(AllSelectors().size() + 1, static_cast<size_t>(v1::Selector_ARRAYSIZE));
  EXPECT_EQ(FindSelector(v1::SELECTOR_UNSPECIFIED), nullptr);
}

}  // namespace
}  // namespace headrace
