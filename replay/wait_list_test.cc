#include "replay/wait_list.h"

#include <array>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WaitListTest : public testing::Test {
 protected:
  void Add(int who, uint64_t steps = 1) {
    list_.Add(&owners_[who], steps, [this, who] { woken_.push_back(who); });
  }
  void Remove(int who) { list_.Remove(&owners_[who]); }
  std::vector<int> Take(uint64_t steps) {
    woken_.clear();
    for (const WaitList::Wake& wake : list_.Take(steps)) wake();
    return woken_;
  }

  WaitList list_;
  std::array<char, 10> owners_;  // whose addresses are in no order of coming
  std::vector<int> woken_;
};

TEST_F(WaitListTest, WakesInTheOrderOfComingAndNoMoreThanTheStepsAdmit) {
  for (const int who : {5, 2, 9, 0}) Add(who);
  EXPECT_THAT(Take(0), IsEmpty());
  EXPECT_THAT(Take(2), ElementsAre(5, 2));
  EXPECT_EQ(list_.size(), 2u);
  EXPECT_THAT(Take(2), IsEmpty()) << "both steps are promised";
  Remove(5);  // it has taken its step: one is left
  EXPECT_THAT(Take(1), IsEmpty());
  EXPECT_THAT(Take(2), ElementsAre(9));
}

TEST_F(WaitListTest, CountsStepsNotOwners) {
  Add(1, 16);
  Add(2, 16);
  Add(3, 0);  // the final observation of an episode
  Add(4, 16);
  EXPECT_THAT(Take(17), ElementsAre(1, 2)) << "the second begins below the limit";
  EXPECT_THAT(Take(33), ElementsAre(3, 4)) << "what takes no steps leaves them to the next";
}

TEST_F(WaitListTest, WhoMustWaitAgainKeepsItsPlace) {
  for (const int who : {1, 2, 3}) Add(who);
  EXPECT_THAT(Take(1), ElementsAre(1));
  Add(1);  // somebody else was faster
  EXPECT_EQ(list_.size(), 3u);
  EXPECT_THAT(Take(2), ElementsAre(1, 2));
}

TEST_F(WaitListTest, WhoHasHadItsTurnComesLast) {
  for (const int who : {1, 2}) Add(who);
  EXPECT_THAT(Take(1), ElementsAre(1));
  Remove(1);
  Add(1);
  EXPECT_THAT(Take(2), ElementsAre(2, 1));
}

TEST_F(WaitListTest, WhatWasPromisedToOneThatGoesIsTheNexts) {
  for (const int who : {1, 2, 3}) Add(who);
  EXPECT_THAT(Take(1), ElementsAre(1));
  Remove(1);
  Remove(2);
  Remove(7);  // never came
  EXPECT_THAT(Take(1), ElementsAre(3));
}

}  // namespace
}  // namespace headrace
