#include "common/nearest.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(EditDistanceTest, CountsInsertionsDeletionsAndReplacements) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("abc", ""), 3u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);  // k->s, e->i, +g
  EXPECT_EQ(EditDistance("sitting", "kitten"), 3u);
}

TEST(EditDistanceTest, CountsNeighboursInEachOthersPlaceOnce) {
  EXPECT_EQ(EditDistance("sca", "sac"), 1u);
  EXPECT_EQ(EditDistance("rpelay", "replay"), 1u);
  EXPECT_EQ(EditDistance("ca", "abc"), 3u);  // swapped to ac, there is nothing to be put between
  EXPECT_EQ(EditDistance("ab", "xba"), 2u);
}

TEST(NearestNamesTest, PutsTheNearestFirst) {
  // batch_sise -> batch_size: 1; -> branch_size: 1 + 2 (a->r, t->a, c->n is 3, or +r, t->n is 2)
  EXPECT_THAT(NearestNames("batch_sise", {"learning_rate", "branch_size", "batch_size"}, 3),
              ElementsAre("batch_size", "branch_size"));
}

TEST(NearestNamesTest, KeepsTheOrderOfEquallyNearNames) {
  EXPECT_THAT(NearestNames("ab", {"ax", "ay", "az"}, 2), ElementsAre("ax", "ay"));
}

TEST(NearestNamesTest, IgnoresLetterCase) {
  EXPECT_THAT(NearestNames("PENDULUM-V1", {"CartPole-v1", "Pendulum-v1"}, 1), ElementsAre("Pendulum-v1"));
}

TEST(NearestNamesTest, OffersLongNamesForTheirBeginning) {
  EXPECT_THAT(NearestNames("Inv", {"InvertedDoublePendulum-v5", "Ant-v5"}, 3),
              ElementsAre("InvertedDoublePendulum-v5"));
}

TEST(NearestNamesTest, SuggestsNothingForAWordUnlikeAll) {
  EXPECT_THAT(NearestNames("zzzzzz", {"seed", "device"}, 3), IsEmpty());
  EXPECT_THAT(NearestNames("seed", {}, 3), IsEmpty());
  EXPECT_THAT(NearestNames("", {"seed"}, 3), IsEmpty());
}

TEST(SuggestionTest, NamesTheNearestOrAll) {
  EXPECT_EQ(Suggestion("seeed", {"actor", "seed"}), "; did you mean seed?");
  EXPECT_EQ(Suggestion("x", {"actor", "seed"}), "; there is actor, seed");
}

}  // namespace
}  // namespace headrace
